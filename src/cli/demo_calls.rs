//! Sample calls for the demo: made-up agents, queues and numbers from the ranges kept for fiction.

use serde_json::{Value, json};
use uuid::Uuid;

/// One inbound call from first ring to wrap-up, an event a step.
#[derive(Debug)]
pub(super) struct Call {
    conversation: Uuid,
    caller: Uuid,
    queue: Uuid,
    agent: Uuid,
    user: Uuid,
    source: Uuid,
    number: u32,
    step: usize,
}

/// What happens in one step.
struct StepEvent {
    array: &'static str,
    body: Value,
}

impl Call {
    /// A call that has not begun.
    pub(super) fn new(number: u32, user: Uuid, source: Uuid) -> Self {
        let [conversation, caller, queue, agent] = std::array::from_fn(|_| Uuid::new_v4());
        Self { conversation, caller, queue, agent, user, source, number, step: 0 }
    }

    /// The call's next event as a line of the stream socket; `None` once it is over.
    pub(super) fn next_line(&mut self, now: &str) -> Option<String> {
        let StepEvent { array, body: mut event } = self.step_event()?;
        self.step += 1;
        event["eventId"] = json!(Uuid::new_v4());
        event["eventDateTime"] = json!(now);
        Some(json!({ array: [event] }).to_string())
    }

    fn step_event(&self) -> Option<StepEvent> {
        let (array, body) = match self.step {
            0 => ("externalEstablishedEvents", self.established(self.caller, json!({}))),
            1 => {
                ("routingEstablishedEvents", self.established(self.queue, json!({ "queueId": self.source })))
            }
            2 => ("userEstablishedEvents", self.established(self.agent, json!({ "userId": self.user }))),
            3 => ("communicationAnsweredEvents", self.of(self.agent, json!({}))),
            4 => ("communicationEndedEvents", self.of(self.queue, json!({ "disconnectType": "Transfer" }))),
            5 => ("holdUpdatedEvents", self.of(self.agent, json!({ "held": true }))),
            6 => ("holdUpdatedEvents", self.of(self.agent, json!({ "held": false }))),
            7 => ("communicationEndedEvents", self.of(self.caller, json!({ "disconnectType": "Self" }))),
            8 => ("communicationEndedEvents", self.of(self.agent, json!({ "disconnectType": "Peer" }))),
            9 => (
                "communicationDispositionAppliedEvents",
                self.of(self.agent, json!({ "notes": "resolved on the phone" })),
            ),
            10 => (
                "userRoutingStatusEvents",
                json!({ "agentId": self.user, "status": "Idle", "sourceId": self.source }),
            ),
            _ => return None,
        };
        Some(StepEvent { array, body })
    }

    fn of(&self, communication: Uuid, more: Value) -> Value {
        let mut event = json!({ "conversationId": self.conversation, "communicationId": communication });
        merge(&mut event, more);
        event
    }

    fn established(&self, communication: Uuid, more: Value) -> Value {
        let mut event = self.of(communication, more);
        merge(
            &mut event,
            json!({
                "ani": format!("tel:+1317555{:04}", 100 + self.number % 100),
                "dnis": "tel:+18005550100",
                "initialConfiguration": { "inbound": true, "alerting": communication == self.agent },
                "sourceConfiguration": { "sourceId": self.source, "interactionId": format!("PBX-{:06}", self.number) },
            }),
        );
        event
    }
}

fn merge(event: &mut Value, more: Value) {
    if let (Value::Object(event), Value::Object(more)) = (event, more) {
        event.extend(more);
    }
}
