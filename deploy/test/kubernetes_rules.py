#!/usr/bin/env python3
"""What the schemas do not say: kubernetes_rules.py RENDERED.yaml, and the daemon's configuration goes to stdout.

Exits 1 with every rule that is broken.
"""

import re
import sys
import tomllib

import yaml

UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "ms": 0.001, "s": 1, "m": 60, "h": 3600}
broken = []


def rule(holds, words):
    if not holds:
        broken.append(words)


def value(text):
    number, unit = re.fullmatch(r"([0-9]+)([A-Za-z]+)", text).groups()
    return int(number) * UNITS[unit]


def named(items, name):
    return next(item for item in items if item["name"] == name)


objects = [document for document in yaml.safe_load_all(open(sys.argv[1])) if document]
configs = {o["metadata"]["name"]: o["data"]["trunkline.toml"] for o in objects if o["kind"] == "ConfigMap"}
work = next(o for o in objects if o["kind"] in ("Deployment", "StatefulSet"))
spec = work["spec"]["template"]["spec"]
sidecar = named(spec["initContainers"], "trunkline")
application = spec["containers"][0]
volumes = {volume["name"]: volume for volume in spec["volumes"]}
claims = {claim["metadata"]["name"]: claim for claim in work["spec"].get("volumeClaimTemplates", [])}
mounts = {mount["name"]: mount for mount in sidecar["volumeMounts"]}
text = configs[volumes["trunkline-config"]["configMap"]["name"]]
config = tomllib.loads(text)

rule(sidecar.get("restartPolicy") == "Always", "trunkline is a native sidecar")
rule("readinessProbe" not in sidecar, "a lane's trouble must not take the application out of service: no readinessProbe")
for probe, word in (("startupProbe", "--ready"), ("livenessProbe", "--live")):
    command = ["/usr/bin/trunkline", "status", "--quiet", word]
    rule(sidecar[probe]["exec"]["command"] == command, f"{probe} is {command}")

shared = {m["name"] for m in application["volumeMounts"]} & set(mounts)
rule(shared == {"events"}, f"the containers share the socket's directory and nothing else; they share {shared}")
rule("emptyDir" in volumes["events"], "the socket's directory is an emptyDir")
rule(config["ingest"]["stream"]["group"] == str(spec["securityContext"]["fsGroup"]), "the socket's group is the fsGroup")
admin = config["admin"]["listen"].removeprefix("unix:").rpartition("/")[0]
rule(admin == mounts["admin"]["mountPath"], "the admin socket lies where the application has nothing mounted")
rule(config["upstream"]["client_secret_file"].startswith(mounts["trunkline-secret"]["mountPath"]), "the secret comes by file")

rule(config["queue"]["dir"].startswith(mounts["queue"]["mountPath"] + "/"), "the queue lies in a directory of its volume")
if "queue" in claims:
    size = claims["queue"]["spec"]["resources"]["requests"]["storage"]
else:
    size = volumes["queue"]["emptyDir"]["sizeLimit"]
rule(value(size) > 2 * value(config["queue"]["max_size"]), "the queue's volume is larger than twice queue.max_size")
end = value(config["daemon"]["drain"]) + value(config["daemon"]["grace"])
rule(end < spec["terminationGracePeriodSeconds"], "drain and grace end before terminationGracePeriodSeconds")
rule(config["relay"]["requests_per_minute"] * work["spec"]["replicas"] * 2 <= 300, "all pods keep the API's rate, and those that end beside them")

# The profile `restricted` of the Pod Security Standards.
pod = spec["securityContext"]
for container in spec["initContainers"] + spec["containers"]:
    own = container["securityContext"]
    name = container["name"]
    rule(own["allowPrivilegeEscalation"] is False, f"{name}: no privilege escalation")
    rule(own["capabilities"] == {"drop": ["ALL"]}, f"{name}: no capabilities")
    rule(own.get("runAsUser", 0) > 0, f"{name}: a numeric user that is not root")
    rule(own["readOnlyRootFilesystem"] is True, f"{name}: a read-only root file system")
rule(pod["runAsNonRoot"] is True and pod["seccompProfile"]["type"] == "RuntimeDefault", "the pod is not root, under seccomp")
rule(not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")), "nothing of the host")
rule(all("hostPath" not in volume for volume in spec["volumes"]), "no hostPath")

for words in broken:
    print(f"{sys.argv[1]}: broken: {words}", file=sys.stderr)
print(text, end="")
sys.exit(1 if broken else 0)
