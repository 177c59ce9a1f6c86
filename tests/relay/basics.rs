//! The relay as a whole on paused time: the answers table, the pace, the linger, stop and pause, and
//! that order holds in any weather.

use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy};
use trunkline::event::{Array, Envelope, Lane};
use trunkline::queue::DeadReason::{Attempts, Expired, InvalidAlone, Rejected, TooLarge};
use trunkline::relay::{Command, LaneState};
use trunkline::upstream::{Answer, EventError, Verdict};

use crate::kit::{
    Entry, Harness, START_MS, answer, check_order, config, event, forbidden, invalid, soon, taken, too_large,
    unavailable, weather,
};

const LANE: Lane = Lane::Conversations;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn in_lane(lane: Lane, event: Envelope) -> Envelope {
    Envelope { lane, ..event }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_listed_is_delivered_and_what_is_listed_is_rejected() {
    let harness = Harness::start(config(), (1..=3).map(|id| event(id, 1)), |_| soon(taken(&[(2, false)])));

    harness.settled(3).await;

    assert_eq!(harness.outcomes(), [(1, None), (2, Some(Rejected)), (3, None)]);
    assert_eq!(harness.sent_ids(), [[1, 2, 3]]);
}

#[tokio::test(start_paused = true)]
async fn a_retryable_event_comes_again_and_later_ones_of_its_key_wait_for_it() {
    let harness = Harness::start(config(), [event(1, 1), event(2, 2)], |sent| {
        soon(if sent.number < 3 && sent.ids.contains(&1) { taken(&[(1, true)]) } else { taken(&[]) })
    });

    harness.started(1).await;
    harness.append(event(3, 1));
    harness.append(event(4, 2));
    harness.settled(4).await;

    let first_with = |id| harness.sent_ids().iter().position(|ids| ids.contains(&id)).unwrap();
    let last_with_1 = harness.sent_ids().iter().rposition(|ids| ids.contains(&1)).unwrap();
    assert!(last_with_1 > 0);
    assert!(first_with(3) >= last_with_1, "{:?}", harness.sent_ids());
    assert!(harness.dead().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_400_halves_the_batch_until_only_the_culprit_is_dead() {
    let harness = Harness::start(config(), (1..=100).map(|id| event(id, 1 + id as u64 % 7)), |sent| {
        soon(if sent.ids.contains(&37) { invalid("bad") } else { taken(&[]) })
    });

    harness.settled(100).await;

    assert_eq!(harness.dead(), [(37, InvalidAlone)]);
    assert!(harness.sent().len() <= 16, "{}", harness.sent().len());
}

#[tokio::test(start_paused = true)]
async fn suspects_named_in_a_400_stand_alone_at_once() {
    let name = uuid::Uuid::from_u128(3).to_string();
    let harness = Harness::start(config(), (1..=5).map(|id| event(id, 1)), move |sent| {
        soon(if sent.ids.contains(&3) { invalid(&format!("event {name} is bad")) } else { taken(&[]) })
    });

    harness.settled(5).await;

    assert_eq!(harness.sent_ids(), [vec![1, 2, 3, 4, 5], vec![1, 2], vec![3], vec![4, 5]]);
    assert_eq!(harness.dead(), [(3, InvalidAlone)]);
}

#[tokio::test(start_paused = true)]
async fn a_413_halves_and_alone_it_is_too_large() {
    let harness = Harness::start(config(), (1..=8).map(|id| event(id, id as u64)), move |sent| {
        soon(if sent.ids.contains(&5) { too_large() } else { taken(&[]) })
    });

    harness.settled(8).await;

    assert_eq!(harness.dead(), [(5, TooLarge)]);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_a_strange_id_is_found_by_halving() {
    let stranger = EventError { event_id: Some("who".into()), message: "bad".into(), retryable: false };
    let harness = Harness::start(config(), (1..=8).map(|id| event(id, id as u64)), move |sent| {
        let errors = if sent.ids.contains(&6) { vec![stranger.clone()] } else { Vec::new() };
        soon(answer(200, Verdict::Taken { errors }))
    });

    harness.settled(8).await;

    assert_eq!(harness.dead(), [(6, Rejected)]);
}

#[tokio::test(start_paused = true)]
async fn after_a_409_the_events_come_again_and_the_lane_runs() {
    let conflict = || answer(409, Verdict::Conflict { message: "busy".into() });
    let harness = Harness::start(config(), [event(1, 1), event(2, 2)], move |sent| {
        soon(if sent.number == 0 { conflict() } else { taken(&[]) })
    });

    let status = harness.status(LANE, |status| status.last_status == Some(409)).await;
    harness.settled(2).await;

    assert_eq!(status.state, LaneState::Running);
    assert!(harness.dead().is_empty());
}

#[tokio::test(start_paused = true)]
async fn faults_keep_the_events_say_why_and_pass() {
    let unauthorized = Verdict::Unauthorized { reason: "invalid.token".into() };
    let misconfigured = Verdict::Misconfigured { reason: "404".into() };
    let unavailable = Verdict::Unavailable { reason: "503".into(), maybe_taken: false };
    for (verdict, state, least) in [
        (unauthorized, LaneState::Unauthorized, Duration::ZERO),
        (forbidden().verdict, LaneState::Forbidden, MINUTE),
        (misconfigured, LaneState::Misconfigured, MINUTE),
        (unavailable, LaneState::BackingOff, Duration::ZERO),
        (Verdict::NotTheApi, LaneState::BackingOff, Duration::ZERO),
    ] {
        let harness = Harness::start(config(), (1..=3).map(|id| event(id, 1)), move |sent| {
            soon(if sent.number < 4 { answer(404, verdict.clone()) } else { taken(&[]) })
        });

        let status = harness.status(LANE, |status| status.state == state).await;
        harness.settled(3).await;
        harness.status(LANE, |status| status.state == LaneState::Running).await;

        assert!(status.reason.is_some() && status.next_attempt.is_some());
        assert!(harness.dead().is_empty());
        assert_eq!(harness.sent().len(), if state == LaneState::BackingOff { 5 } else { 6 }, "{state:?}");
        let starts = harness.starts();
        assert!(starts.windows(2).take(4).all(|pair| pair[1] - pair[0] >= least), "{starts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_own_probe_failed_stays_held_alone_while_the_lane_runs() {
    let harness = Harness::start(config(), (1..=3).map(|id| event(id, id as u64)), |sent| {
        let refused = sent.ids.contains(&1) && sent.number < 12;
        soon(if refused { forbidden() } else { taken(&[]) })
    });
    harness.settled(2).await;

    harness.append(event(4, 4));
    harness.settled(3).await;
    let status = harness.status(LANE, |status| status.state == LaneState::Running).await;
    harness.settled(4).await;

    assert_eq!(status.reason, None);
    let alone = harness.sent_ids().into_iter().skip(1).filter(|ids| ids.contains(&1));
    assert!(alone.clone().all(|ids| ids == [1]), "{:?}", harness.sent_ids());
    assert!(alone.count() > 3, "{:?}", harness.sent_ids());
    assert!(harness.dead().is_empty());
}

#[tokio::test(start_paused = true)]
async fn probes_of_a_held_lane_take_the_keys_in_turn() {
    let harness = Harness::start(config(), (1..=3).map(|id| event(id, id as u64)), |sent| {
        soon(if sent.ids.iter().any(|id| *id != 3) { forbidden() } else { taken(&[]) })
    });

    harness.settled(1).await;

    assert_eq!(harness.sent_ids()[..4], [vec![1, 2, 3], vec![1], vec![2], vec![3]]);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_the_least_wait() {
    let harness = Harness::start(config(), [event(1, 1)], |sent| {
        let busy = Answer { retry_after: Some(30 * SECOND), ..unavailable(503) };
        soon(if sent.number == 0 { busy } else { taken(&[]) })
    });

    harness.settled(1).await;

    let starts = harness.starts();
    assert!(starts[1] - starts[0] >= 30 * SECOND, "{starts:?}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_a_day_costs_no_event() {
    let harness = Harness::start(config(), (1..=200).map(|id| event(id, id as u64 % 9)), |sent| {
        soon(if sent.start < 24 * 60 * MINUTE { unavailable(503) } else { taken(&[]) })
    });

    harness.settled(200).await;

    assert!(harness.dead().is_empty());
    assert!(harness.reads() < 50, "{} reads", harness.reads());
}

#[tokio::test(start_paused = true)]
async fn a_backlog_leaves_in_full_batches() {
    let harness =
        Harness::start(config(), (1..=1000).map(|id| event(id, id as u64)), |_| (SECOND, taken(&[])));

    harness.settled(1000).await;

    assert!(harness.sent_ids().iter().all(|ids| ids.len() == 100));
}

#[tokio::test(start_paused = true)]
async fn in_a_quiet_lane_an_event_leaves_at_once_and_otherwise_after_the_linger() {
    let harness = Harness::start(config(), [event(1, 1)], |_| soon(taken(&[])));
    harness.settled(1).await;

    harness.append(event(2, 2));
    harness.settled(2).await;
    tokio::time::advance(5 * SECOND).await;
    harness.append(event(3, 3));
    harness.settled(3).await;

    let starts = harness.starts();
    assert!(starts[0] < SECOND / 10, "{starts:?}");
    assert!((SECOND..SECOND * 11 / 10).contains(&starts[1]), "{starts:?}");
    assert!((6 * SECOND..6 * SECOND + SECOND / 10).contains(&starts[2]), "{starts:?}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_relay_reads_next_to_nothing() {
    let harness = Harness::start(config(), [event(1, 1)], |_| soon(taken(&[])));
    harness.settled(1).await;

    tokio::time::sleep(60 * MINUTE).await;

    assert!(harness.reads() <= 8, "{} reads", harness.reads());
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_lane_does_not_stop_another() {
    let events = [event(1, 1), in_lane(Lane::Presence, event(2, 1)), in_lane(Lane::Presence, event(3, 1))];
    let harness = Harness::start(config(), events, |sent| {
        soon(if sent.lane == LANE { forbidden() } else { taken(&[]) })
    });

    harness.settled(2).await;

    assert_eq!(harness.outcomes(), [(2, None), (3, None)]);
    assert!(harness.starts().iter().all(|start| *start < 2 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_paused_lane_sends_nothing_until_it_is_resumed() {
    let harness = Harness::start(config(), [], |_| soon(taken(&[])));
    harness.commands.send(Command::Pause(Some(LANE))).await.unwrap();
    harness.status(LANE, |status| status.state == LaneState::Paused).await;

    harness.append(event(1, 1));
    harness.append(in_lane(Lane::Presence, event(2, 1)));
    tokio::time::sleep(10 * MINUTE).await;
    let while_paused = harness.sent_ids();
    harness.commands.send(Command::Resume(None)).await.unwrap();
    harness.settled(2).await;

    assert_eq!(while_paused, [[2]]);
    assert_eq!(harness.outcomes(), [(1, None), (2, None)]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_settles_what_is_in_flight_and_starts_nothing_new() {
    let mut small = config();
    (small.batch_max_events, small.max_in_flight) = (1, 2);
    let harness = Harness::start(small, (1..=4).map(|id| event(id, id as u64)), |_| (5 * SECOND, taken(&[])));

    harness.started(2).await;
    let log = harness.stop().await;

    let count = |wanted: fn(&Entry) -> bool| log.iter().filter(|entry| wanted(entry)).count();
    assert_eq!(count(|entry| matches!(entry, Entry::Started { .. })), 2);
    assert_eq!(count(|entry| matches!(entry, Entry::Settled { .. })), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_no_longer_than_the_grace() {
    let harness = Harness::start(config(), [event(1, 1)], |_| (MINUTE, taken(&[])));
    harness.started(1).await;
    let stopped_at = tokio::time::Instant::now();

    let log = harness.stop().await;

    assert!(stopped_at.elapsed() <= 11 * SECOND);
    assert_eq!(log.len(), 1, "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn no_minute_sees_more_starts_than_configured() {
    let mut slow = config();
    (slow.requests_per_minute, slow.burst, slow.batch_max_events) = (30, 10, 1);
    let harness = Harness::start(slow, (1..=200).map(|id| event(id, id as u64)), |_| soon(taken(&[])));

    harness.settled(200).await;

    let starts = harness.starts();
    assert!(starts.windows(31).all(|window| window[30] - window[0] > MINUTE), "{starts:?}");
    assert!(*starts.last().unwrap() < 8 * MINUTE, "the pace is used: {:?}", starts.last());
}

#[tokio::test(start_paused = true)]
async fn an_event_over_its_lanes_age_is_expired_and_never_sent() {
    let mut aging = config();
    aging.event_max_age[LANE.index()] = MINUTE;
    let old = Envelope { accepted_at_ms: START_MS - 61_000, ..event(1, 1) };
    let harness = Harness::start(aging, [old, event(2, 1)], |_| soon(taken(&[])));

    harness.settled(2).await;

    assert_eq!(harness.outcomes(), [(1, Some(Expired)), (2, None)]);
    assert_eq!(harness.sent_ids(), [[2]]);
}

#[tokio::test(start_paused = true)]
async fn a_storage_fault_while_settling_sends_nothing_twice() {
    let harness = Harness::start(config(), [event(1, 1)], |_| soon(taken(&[])));
    harness.fail_settling(3);

    harness.append(event(2, 1));
    harness.settled(2).await;

    assert_eq!(harness.sent_ids().concat(), [1, 2]);
    let labels = trunkline::metrics::LaneLabel { lane: LANE.name() };
    tokio::time::sleep(SECOND).await;
    assert_eq!(harness.metrics.events_delivered.get_or_create(&labels).get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_suspect_goes_before_a_later_event_of_its_key_that_waits() {
    let stranger = EventError { event_id: None, message: "busy".into(), retryable: true };
    let harness = Harness::start(config(), (1..=3).map(|id| event(id, 1)), move |sent| {
        let mut answer = taken(&[(2, true)]);
        if let Verdict::Taken { errors } = &mut answer.verdict {
            errors.push(stranger.clone());
        }
        soon(if sent.number == 0 { answer } else { taken(&[]) })
    });

    harness.settled(3).await;

    assert_eq!(harness.sent_ids().concat(), [1, 2, 3, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_stays_retryable_is_dead_after_twenty_attempts_and_the_time() {
    let harness = Harness::start(config(), [event(1, 1)], |_| soon(taken(&[(1, true)])));

    harness.settled(1).await;

    let starts = harness.starts();
    assert_eq!(harness.dead(), [(1, Attempts)]);
    assert!(starts.len() >= 20 && starts[starts.len() - 1] - starts[0] >= 60 * MINUTE, "{starts:?}");
}

fn any_event() -> impl Strategy<Value = (u64, u8, i64, u64)> {
    (0..5_u64, 0..2_u8, 0..4_i64, 0..400_u64)
}

proptest::proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_holds_and_each_event_is_settled_once_in_any_weather(
        events in vec(any_event(), 1..40),
        codes in vec((0..20_u8, 0..3_000_u64), 0..40),
        size in 1..12_usize,
    ) {
        let build = |(id, (key, array, time, _)): (u128, &(u64, u8, i64, u64))| Envelope {
            array: Array::Extra(if *array == 0 { "a".into() } else { "b".into() }),
            event_time_ms: START_MS + time,
            body: Bytes::from(format!(r#"{{"eventId":"{}"}}"#, uuid::Uuid::from_u128(id))),
            ..event(id, *key)
        };
        let all: Vec<Envelope> = (1..).zip(&events).map(build).collect();
        let by_id = all.iter().map(|event| (event.event_id.as_u128(), event.clone())).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let log = runtime.unwrap().block_on(async {
            let mut config = config();
            config.batch_max_events = size;
            let harness = Harness::start(config, [], move |sent| match codes.get(sent.number) {
                Some((code, delay)) => (Duration::from_millis(*delay), weather(*code, &sent.ids)),
                None => soon(taken(&[])),
            });
            for (event, (.., pause)) in all.iter().zip(&events) {
                tokio::time::sleep(Duration::from_millis(*pause)).await;
                harness.append(event.clone());
            }
            harness.settled(all.len()).await;
            harness.stop().await
        });
        check_order(&log, &by_id);
    }
}
