//! The ids in an event's body by which an operator looks for a call. Pure.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Ids by which an operator looks for a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventIds {
    /// `conversationId`
    pub conversation: Option<Arc<str>>,
    /// `communicationId`
    pub communication: Option<Arc<str>>,
    /// `interactionId`
    pub interaction: Option<Arc<str>>,
    /// `userId`
    pub user: Option<Arc<str>>,
    /// `agentId`
    pub agent: Option<Arc<str>>,
}

/// The fields of an event that are ids, wherever they stand in it. Raw: one that is of another shape,
/// which an array's unknown fields may be, must not hide the others.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct IdFields<'a> {
    #[serde(borrow)]
    conversation_id: Option<&'a RawValue>,
    #[serde(borrow)]
    communication_id: Option<&'a RawValue>,
    #[serde(borrow)]
    interaction_id: Option<&'a RawValue>,
    #[serde(borrow)]
    user_id: Option<&'a RawValue>,
    #[serde(borrow)]
    agent_id: Option<&'a RawValue>,
    #[serde(borrow)]
    source_configuration: Option<&'a RawValue>,
}

impl<'a> IdFields<'a> {
    fn read(json: &'a [u8]) -> Self {
        // Serde takes an array for a struct too.
        let object = json.starts_with(b"{").then(|| serde_json::from_slice(json).ok());
        object.flatten().unwrap_or_default()
    }
}

impl EventIds {
    /// The ids in an event's body. What is not such a text is passed over.
    pub fn of_body(body: &[u8]) -> EventIds {
        let fields = IdFields::read(body);
        let nested = fields.source_configuration.map(|nested| IdFields::read(nested.get().as_bytes()));
        let text = |id: Option<&RawValue>| serde_json::from_str::<String>(id?.get()).ok().map(Arc::from);
        EventIds {
            conversation: text(fields.conversation_id),
            communication: text(fields.communication_id),
            interaction: text(fields.interaction_id).or_else(|| text(nested?.interaction_id)),
            user: text(fields.user_id),
            agent: text(fields.agent_id),
        }
    }

    /// Whether one of them is `id`, case folded.
    pub fn contains(&self, id: &str) -> bool {
        self.all().into_iter().flatten().any(|found| found.eq_ignore_ascii_case(id))
    }

    /// All of them, always in this order.
    pub(crate) fn all(&self) -> [Option<&str>; 5] {
        [&self.conversation, &self.communication, &self.interaction, &self.user, &self.agent]
            .map(Option::as_deref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_whatever_stands_in_the_place_of_others() {
        let body = br#"{"userId":7,"conversationId":"c","agentId":null,"sourceConfiguration":["a","b","c"]}"#;

        let ids = EventIds::of_body(body);

        assert_eq!(ids, EventIds { conversation: Some("c".into()), ..EventIds::default() });
    }

    #[test]
    fn an_interaction_is_found_in_the_event_and_in_its_source_configuration() {
        let of = |body: &str| EventIds::of_body(body.as_bytes()).interaction;

        assert_eq!(of(r#"{"interactionId":"i"}"#).as_deref(), Some("i"));
        assert_eq!(of(r#"{"sourceConfiguration":{"interactionId":"i"}}"#).as_deref(), Some("i"));
    }
}
