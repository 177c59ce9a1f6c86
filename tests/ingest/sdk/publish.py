"""Logs in through trunkline's HTTP door with the official Python SDK and publishes to each endpoint it knows.

Usage: publish.py BASE_URL TOKEN. Prints the ids of the events as a JSON array.
"""

import json
import sys
import uuid
from datetime import datetime, timezone

import PureCloudPlatformClientV2 as sdk

base_url, token = sys.argv[1:3]
sdk.configuration.host = base_url
client = sdk.api_client.ApiClient().get_client_credentials_token("any-client-id", token)
events = sdk.EventsApi(client)
now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
source = {"sourceId": str(uuid.uuid4()), "interactionId": "PBX-1"}
published = []


def event(**fields):
    made = {"eventId": str(uuid.uuid4()), "eventDateTime": now, **fields}
    published.append(made["eventId"])
    return made


def publish(call, body):
    answer = call(body)
    assert not answer.errors, answer.errors


conversation = str(uuid.uuid4())
publish(
    events.post_events_conversations,
    {
        "phoneEstablishedEvents": [
            event(
                conversationId=conversation,
                communicationId=str(uuid.uuid4()),
                initialConfiguration={"inbound": True},
                sourceConfiguration=source,
            )
        ],
        "holdUpdatedEvents": [event(conversationId=conversation, communicationId=str(uuid.uuid4()), held=True)],
    },
)
publish(
    events.post_events_users_presence,
    {
        "userPresenceEvents": [
            event(
                userId=str(uuid.uuid4()),
                sourceId=str(uuid.uuid4()),
                presenceDefinitionId=str(uuid.uuid4()),
            )
        ]
    },
)
publish(
    events.post_events_users_routingstatus,
    {"userRoutingStatusEvents": [event(agentId="agent-7", sourceId="pbx-1", status="Idle")]},
)

publish(
    events.post_events_routing_customkpiattributions,
    {"customKpiAttributionEvents": [event(kpiId="kpi-1", associatedValue=2.5, conversationId=conversation)]},
)

# A fault of the event comes back as the API's own.
refused = {"userRoutingStatusEvents": [{"eventId": str(uuid.uuid4()), "eventDateTime": now, "status": "Idle"}]}
answer = events.post_events_users_routingstatus(refused)
assert len(answer.errors) == 1 and answer.errors[0].retryable is False, answer

# A fault of the request too.
try:
    events.post_events_users_presence({})
    raise AssertionError("an empty body was taken")
except sdk.rest.ApiException as error:
    assert error.status == 400, error

print(json.dumps(published))
