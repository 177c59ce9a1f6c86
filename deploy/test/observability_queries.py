#!/usr/bin/env python3
"""Asks a Prometheus that scraped a real run for all that the dashboard and the alerts ask it for.

observability_queries.py PROMETHEUS_URL START DASHBOARD.json ALERTS.yml
Exits 1 with each query that returns nothing, each metric that nobody has, each alert that is not evaluated.
"""

import json
import re
import sys
import time
import urllib.parse
import urllib.request

url, start, dashboard, alerts = sys.argv[1], float(sys.argv[2]), *sys.argv[3:]
VARIABLES = {"$instance": ".*", "$__rate_interval": "10s", "$__interval": "1s", "$__range": "1m"}
wrong = []


def ask(path, **query):
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
        return json.load(answer)["data"]


def points(expr):
    """Values that are numbers, over the whole run."""
    series = ask("query_range", query=expr, start=start, end=time.time(), step=1)["result"]
    return sum(value != "NaN" for one in series for _, value in one["values"])


def substituted(expr):
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, f"a variable is left in {expr}"
    return expr


for target in ask("targets", state="active")["activeTargets"]:
    if target["health"] != "up":
        sys.exit(f"observability: Prometheus can't scrape {target['scrapeUrl']}: {target['lastError']}")

asked = 0
panels = json.load(open(dashboard))["panels"]
for panel in panels:
    for target in panel["targets"]:
        asked += 1
        count = points(substituted(target["expr"]))
        print(f"{count:6} points  {panel['title']}: {target['legendFormat'] or 'value'}")
        if not count:
            wrong.append(f"no data: {panel['title']}: {target['expr']}")

# `or vector(0)` would hide a name that nobody has.
texts = json.dumps(panels) + open(alerts).read()
for name in sorted(set(re.findall(r"trunkline_[a-z_]+", texts))):
    if not points(f'count({{__name__="{name}"}})'):
        wrong.append(f"no such metric: {name}")

rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
for rule in rules:
    if rule["health"] != "ok":
        wrong.append(f"alert {rule['name']}: {rule['health']} {rule.get('lastError', '')}")
firing = sorted({rule["name"] for rule in rules if rule["state"] == "firing"})
print(f"{asked} queries, {len(rules)} alerts, of them firing: {', '.join(firing) or 'none'}")

for words in wrong:
    print(f"observability: {words}", file=sys.stderr)
sys.exit(1 if wrong or not rules else 0)
