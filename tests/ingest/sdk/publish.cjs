// Logs in through trunkline's HTTP door with the official JavaScript SDK and publishes to each endpoint it knows.
//
// Usage: node publish.cjs BASE_URL TOKEN. Prints the ids of the events as a JSON array.

const { randomUUID } = require('node:crypto');
const sdk = require('purecloud-platform-client-v2');

const [baseUrl, token] = process.argv.slice(2);
const { protocol, hostname, port } = new URL(baseUrl);
const client = sdk.ApiClient.instance;
client.setGateway({ host: hostname, protocol: protocol.replace(':', ''), port: Number(port) });

const published = [];
const event = (fields) => {
  const made = { eventId: randomUUID(), eventDateTime: new Date().toISOString(), ...fields };
  published.push(made.eventId);
  return made;
};
const check = (answer) => {
  if (answer.errors.length > 0) throw new Error(JSON.stringify(answer.errors));
};

async function main() {
  await client.loginClientCredentialsGrant('any-client-id', token);
  const events = new sdk.EventsApi();
  const conversationId = randomUUID();
  check(
    await events.postEventsConversations({
      phoneEstablishedEvents: [
        event({
          conversationId,
          communicationId: randomUUID(),
          initialConfiguration: { inbound: true },
          sourceConfiguration: { sourceId: randomUUID(), interactionId: 'PBX-1' },
        }),
      ],
      holdUpdatedEvents: [event({ conversationId, communicationId: randomUUID(), held: true })],
    }),
  );
  check(
    await events.postEventsUsersPresence({
      userPresenceEvents: [
        event({ userId: randomUUID(), sourceId: randomUUID(), presenceDefinitionId: randomUUID() }),
      ],
    }),
  );
  check(
    await events.postEventsUsersRoutingstatus({
      userRoutingStatusEvents: [event({ agentId: 'agent-7', sourceId: 'pbx-1', status: 'Idle' })],
    }),
  );
  check(
    await events.postEventsRoutingCustomkpiattributions({
      customKpiAttributionEvents: [event({ kpiId: 'kpi-1', associatedValue: 2.5, conversationId })],
    }),
  );
  try {
    await events.postEventsUsersPresence({});
    throw new Error('an empty body was taken');
  } catch (error) {
    if (error.status !== 400) throw error;
  }
  console.log(JSON.stringify(published));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
