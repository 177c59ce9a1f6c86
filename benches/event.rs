//! Time to check one event of about 600 bytes, alone in its body and among a hundred. Aim: 3 µs each.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use trunkline::event::{Catalogue, Door, Receipt, Rules, UnknownRule, parse_body};
use uuid::Uuid;

const EVENT: &str = r#"{"eventId":"5a3b0e5c-6c0e-4f6a-9d5e-0123456789ab","eventDateTime":"2026-07-01T12:00:00.000Z","conversationId":"5a3b0e5c-6c0e-4f6a-9d5e-0123456789ac","communicationId":"5a3b0e5c-6c0e-4f6a-9d5e-0123456789ad","ani":"tel:+493012345678","dnis":"tel:+493087654321","initialConfiguration":{"audioState":{"canHear":true,"canSpeak":true},"alerting":false,"inbound":true,"recordingActive":false,"additionalInfo":{"pbx":"berlin-1","trunk":"sip-7","note":"a call that came over the second trunk of the house"}},"sourceConfiguration":{"sourceId":"5a3b0e5c-6c0e-4f6a-9d5e-0123456789ae","interactionId":"pbx-1782907200.1234"}}"#;

fn parse(c: &mut Criterion) {
    let catalogue = Catalogue::new(&[]);
    let rules = Rules { max_event: 40_000, unknown: UnknownRule::Forward };
    let receipt = Receipt { now_ms: 1_782_907_200_000, door: Door::Stream, uid: 0 };
    let mut group = c.benchmark_group("event");
    for events in [1_usize, 100] {
        let body =
            Bytes::from(format!(r#"{{"externalEstablishedEvents":[{}]}}"#, vec![EVENT; events].join(",")));
        let parsed = parse_body(&body, &catalogue, &rules, &receipt, &mut Uuid::new_v4);
        let parsed = parsed.expect("the sample is a good body");
        assert_eq!((parsed.events.len(), parsed.refused.len()), (events, 0), "{:?}", parsed.refused.first());
        group.throughput(Throughput::Elements(events as u64));
        group.bench_function(format!("parse_body/{events}"), |b| {
            b.iter(|| parse_body(black_box(&body), &catalogue, &rules, &receipt, &mut Uuid::new_v4));
        });
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
