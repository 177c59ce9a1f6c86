//! What limits a lane, and for how long: sizes, waits that somebody asks for, order that the API breaks, probes.

use std::collections::HashSet;
use std::time::Duration;

use crate::kit::{
    Harness, START_MS, answer, config, event, forbidden, foreign, soon, taken, too_large, unavailable,
    weather,
};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::ProptestConfig;
use trunkline::event::{Envelope, Lane};
use trunkline::queue::DeadReason::TooLarge;
use trunkline::relay::{Command, LaneState};
use trunkline::upstream::{Answer, Verdict};

const LANE: Lane = Lane::Conversations;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

fn events(ids: std::ops::RangeInclusive<u128>) -> impl Iterator<Item = Envelope> {
    ids.map(|id| event(id, u64::try_from(id).unwrap()))
}

#[tokio::test(start_paused = true)]
async fn events_that_cannot_share_a_request_do_not_wait_for_others_again() {
    let falling =
        |id: u128| Envelope { event_time_ms: START_MS - i64::try_from(id).unwrap(), ..event(id, 1) };
    let harness = Harness::start(config(), (1..=60).map(falling), |_| soon(taken(&[])));

    harness.settled(60).await;

    assert_eq!(harness.sent_ids(), (1..=60).map(|id| [id]).collect::<Vec<_>>());
    assert!(*harness.starts().last().unwrap() < 5 * SECOND, "{:?}", harness.starts().last());
}

#[tokio::test(start_paused = true)]
async fn what_was_parked_has_waited_though_the_wall_clock_went_back() {
    // Accepted an hour from now, as it seems: its age tells nothing.
    let late = |id| Envelope {
        accepted_at_ms: START_MS + 3_600_000,
        event_time_ms: START_MS - i64::try_from(id).unwrap(),
        ..event(id, 1)
    };
    let harness = Harness::start(config(), (1..=60).map(late), |_| soon(taken(&[])));

    harness.settled(60).await;

    assert!(*harness.starts().last().unwrap() < 5 * SECOND, "{:?}", harness.starts().last());
}

#[tokio::test(start_paused = true)]
async fn a_413_that_the_api_did_not_write_kills_no_event_of_usual_size() {
    let large = Envelope {
        body: Bytes::from(format!(
            r#"{{"eventId":"{}","x":"{}"}}"#,
            uuid::Uuid::from_u128(9),
            "x".repeat(64_000)
        )),
        ..event(9, 9)
    };
    let harness = Harness::start(config(), events(1..=8).chain([large]), |sent| {
        let refused = sent.ids.contains(&5) || sent.ids.contains(&9);
        soon(if refused { foreign(too_large()) } else { taken(&[]) })
    });

    harness.settled(8).await;
    harness.append(event(10, 10));
    harness.settled(9).await;
    let status = harness.status(LANE, |lane| lane.keys_held == 1 && lane.state == LaneState::Running).await;

    assert_eq!(harness.dead(), [(9, TooLarge)]);
    assert_eq!(status.last_status, Some(413));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_the_api_did_not_ask_for_is_kept_for_five_minutes_and_by_its_lane_alone() {
    for status in [429, 503] {
        let harness = Harness::start(config(), [event(1, 1)], move |sent| {
            let gateway = foreign(Answer { retry_after: Some(DAY), ..unavailable(status) });
            soon(if sent.number == 0 { gateway } else { taken(&[]) })
        });
        harness.started(1).await;
        harness.append(Envelope { lane: Lane::Presence, ..event(2, 2) });

        harness.settled(2).await;

        let starts = harness.starts();
        assert_eq!(harness.sent_ids(), [[1], [2], [1]]);
        assert!(starts[1] < 2 * SECOND, "{starts:?}");
        assert!((5 * MINUTE..5 * MINUTE + SECOND).contains(&starts[2]), "{starts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn resume_tries_at_once_whatever_is_waited_for() {
    let wait_a_day = |answer| Answer { retry_after: Some(DAY), ..answer };
    for (refusal, lane) in [
        (wait_a_day(unavailable(503)), Some(LANE)),
        (wait_a_day(unavailable(429)), Some(LANE)),
        (wait_a_day(unavailable(429)), None),
        (wait_a_day(taken(&[(1, true)])), None),
        (forbidden(), Some(LANE)),
    ] {
        let harness = Harness::start(config(), [event(1, 1)], move |sent| {
            soon(if sent.number == 0 { refusal.clone() } else { taken(&[]) })
        });
        harness.started(1).await;
        tokio::time::sleep(30 * SECOND).await;
        let before = harness.sent().len();

        harness.commands.send(Command::Resume(lane)).await.unwrap();
        harness.settled(1).await;

        assert_eq!(before, 1);
        assert!(harness.starts()[1] < 31 * SECOND, "{:?}", harness.starts());
        assert_eq!(harness.tried_now(), 1, "the next login waits for nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_was_asked_for_says_who_asked_and_until_when() {
    let asked = |answer: Answer| Answer { retry_after: Some(2 * 60 * MINUTE), ..answer };
    for (answer, words, most) in [
        (asked(unavailable(503)), "the API asked to wait", 120 * MINUTE),
        (asked(foreign(unavailable(503))), "asked to wait, though not by the API", 5 * MINUTE),
    ] {
        let harness = Harness::start(config(), [event(1, 1)], move |_| soon(answer.clone()));

        let status = harness.status(LANE, |lane| lane.state == LaneState::BackingOff).await;

        assert!(status.reason.as_ref().is_some_and(|reason| reason.contains(words)), "{status:?}");
        assert!(status.next_attempt.is_some_and(|wait| wait <= most && wait > most - SECOND), "{status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_event_that_is_too_large_leaves_the_size_of_requests_alone() {
    let harness = Harness::start(config(), events(1..=100), |sent| {
        soon(if sent.ids.contains(&37) { too_large() } else { taken(&[]) })
    });
    harness.settled(100).await;

    events(101..=200).for_each(|event| harness.append(event));
    harness.settled(200).await;

    assert_eq!(harness.dead(), [(37, TooLarge)]);
    assert_eq!(harness.sent_ids().last().map(Vec::len), Some(100));
}

#[tokio::test(start_paused = true)]
async fn requests_are_smaller_once_both_halves_of_one_passed_say_so_and_grow_back() {
    let in_order = trunkline::config::RelayConfig { max_in_flight: 1, ..config() };
    let harness = Harness::start(in_order, events(1..=1_000), |sent| {
        let is_limited = sent.start < 60 * MINUTE;
        soon(if is_limited && sent.ids.len() > 60 { too_large() } else { taken(&[]) })
    });
    harness.settled(1_000).await;
    let limited = harness.status(LANE, |lane| lane.reason.is_some()).await;
    let learnt = harness.sent().len();
    events(1_001..=2_000).for_each(|event| harness.append(event));
    harness.settled(2_000).await;
    let refused = harness.sent_ids()[learnt..].iter().filter(|ids| ids.len() > 60).count();

    tokio::time::sleep(120 * MINUTE).await;
    events(2_001..=2_200).for_each(|event| harness.append(event));
    harness.settled(2_200).await;
    let free = harness.status(LANE, |lane| lane.reason.is_none()).await;

    assert!(harness.dead().is_empty());
    assert_eq!((refused, limited.state, free.state), (0, LaneState::Running, LaneState::Running));
    assert!(limited.reason.unwrap().contains("larger ones were rejected as too large"));
    assert_eq!(harness.sent_ids().last().map(Vec::len), Some(100));
}

#[tokio::test(start_paused = true)]
async fn after_the_api_broke_the_order_one_event_a_key_leaves_for_ten_minutes() {
    let harness = Harness::start(config(), [event(1, 1), event(2, 1)], |sent| {
        soon(if sent.number == 0 { taken(&[(1, true)]) } else { taken(&[]) })
    });
    harness.settled(2).await;
    let told = harness.status(LANE, |lane| lane.reason.is_some()).await;

    harness.append(event(3, 3));
    harness.append(event(4, 3));
    harness.settled(4).await;
    tokio::time::sleep(11 * MINUTE).await;
    harness.append(event(5, 5));
    harness.append(event(6, 5));
    harness.settled(6).await;

    assert_eq!(harness.sent_ids(), [vec![1, 2], vec![1], vec![3], vec![4], vec![5, 6]]);
    assert_eq!(told.state, LaneState::Running);
    assert!(told.reason.unwrap().contains("one event per key"));
    let labels = trunkline::metrics::LaneLabel { lane: LANE.name() };
    assert_eq!(harness.metrics.events_reordered.get_or_create(&labels).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_task_of_the_relay_ends_the_relay() {
    let harness = Harness::start(config(), [event(1, 1)], |_| panic!("a fault of ours"));

    assert!(harness.panicked().await);
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_key_with_more_events_than_fit_memory_keeps_no_other_from_its_probe() {
    let many = (1..=5_000).map(|id| event(id, 1));
    let harness = Harness::start(config(), many.chain([event(5_001, 2)]), |sent| {
        soon(if sent.ids == [5_001] { taken(&[]) } else { forbidden() })
    });

    harness.settled(1).await;

    assert!(harness.sent().len() <= 5, "{}", harness.sent().len());
}

proptest::proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_a_held_lane_every_waiting_key_is_tried_within_as_many_probes_as_there_are_keys(
        keys in vec(1..9_u64, 1..40),
        codes in vec(0..16_u8, 0..12),
        size in 1..12_usize,
    ) {
        let all: Vec<Envelope> = (1..).zip(&keys).map(|(id, key)| event(id, *key)).collect();
        let key_of = |id: u128| keys[usize::try_from(id).unwrap() - 1];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let (sent, settled) = runtime.unwrap().block_on(async {
            let mut config = config();
            config.batch_max_events = size;
            let harness = Harness::start(config, all, move |sent| match codes.get(sent.number) {
                Some(code) => soon(weather(*code, &sent.ids)),
                None => soon(forbidden()),
            });
            tokio::time::sleep(60 * MINUTE).await;
            let settled: HashSet<u128> = harness.outcomes().into_iter().map(|(id, _)| id).collect();
            (harness.sent_ids(), settled)
        });

        let ids = (1..).take(keys.len());
        let waiting: HashSet<u64> = ids.filter(|id| !settled.contains(id)).map(key_of).collect();
        if !waiting.is_empty() {
            // The last half hour, when nothing waits for anything but its turn.
            let probes: Vec<u64> = sent[sent.len() - 30..].iter().map(|ids| key_of(ids[0])).collect();
            for window in probes.windows(waiting.len()) {
                let tried: HashSet<u64> = window.iter().copied().collect();
                proptest::prop_assert_eq!(&tried, &waiting);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_the_apis_is_told_with_its_status() {
    let harness = Harness::start(config(), [event(1, 1)], |_| soon(foreign(answer(400, Verdict::NotTheApi))));

    let status = harness.status(LANE, |lane| lane.state == LaneState::BackingOff).await;

    assert!(status.reason.unwrap().starts_with("400: the answer is not from the API"));
    assert!(harness.dead().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_step_of_the_clock_expires_nothing_early_and_keeps_nothing_for_ever() {
    for step_s in [3_000, -3_000, 31 * 86_400, -31 * 86_400] {
        let mut aging = config();
        aging.event_max_age[LANE.index()] = 30 * SECOND;
        let is_down = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let down = is_down.clone();
        let harness = Harness::start(aging, [event(1, 1)], move |_| {
            soon(if down.load(std::sync::atomic::Ordering::SeqCst) { unavailable(503) } else { taken(&[]) })
        });
        harness.started(1).await;

        harness.clock.set_wall(step_s * 1_000);
        tokio::time::sleep(15 * SECOND).await;
        let early = harness.dead().len();
        harness.settled(1).await;
        let (expired, at) = (harness.dead().len(), harness.clock.mono());
        is_down.store(false, std::sync::atomic::Ordering::SeqCst);
        harness.append(Envelope { accepted_at_ms: harness.clock.unix_ms(), ..event(2, 2) });
        harness.settled(2).await;

        assert_eq!((early, expired, harness.dead().len()), (0, 1, 1), "after a step of {step_s} s");
        assert!(at.since(Default::default()) < 2 * MINUTE, "{at:?}");
    }
}
