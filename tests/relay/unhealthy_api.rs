//! Lanes, keys and events that are sick for long: what they cost the others, and that nothing is lost by it.

use std::collections::HashSet;
use std::time::Duration;

use trunkline::event::{Envelope, Key, Lane};
use trunkline::queue::DeadReason::{Attempts, Rejected};
use trunkline::relay::{Command, LaneState, Place, Question};
use trunkline::upstream::{Answer, EventError, RateWindow, Verdict};

use crate::kit::{Harness, START_MS, answer, check_order, config, event, invalid, soon, taken, unavailable};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn all_retryable(ids: &[u128]) -> Answer {
    taken(&ids.iter().map(|id| (*id, true)).collect::<Vec<_>>())
}

#[tokio::test(start_paused = true)]
async fn a_lane_whose_events_are_all_called_retryable_for_half_a_day_loses_none() {
    let paced = trunkline::config::RelayConfig { requests_per_minute: 300, burst: 10, ..config() };
    let harness = Harness::start(paced, (1..=300).map(|id| event(id, id as u64)), |sent| {
        soon(if sent.start < 12 * HOUR { all_retryable(&sent.ids) } else { taken(&[]) })
    });

    harness.settled(300).await;

    assert_eq!(harness.dead(), []);
}

#[tokio::test(start_paused = true)]
async fn a_few_sick_events_in_a_quiet_lane_are_asked_for_ever_more_rarely_and_given_up() {
    for count in 1..=3 {
        let events = (1..=count).map(|id| event(id, id as u64));
        let harness = Harness::start(config(), events, |sent| soon(all_retryable(&sent.ids)));

        tokio::time::sleep(HOUR).await;
        let requests = harness.sent().len();
        harness.settled(count as usize).await;

        // With full jitter a wait of 60 s at most is 30 s in the mean: 120 in an hour, and those of the start.
        assert!(requests < 180 * count as usize, "{requests} requests for {count}");
        assert!(harness.dead().iter().all(|(_, reason)| *reason == Attempts));
        assert!(
            harness.starts().last().is_some_and(|last| *last < 3 * HOUR),
            "{:?}",
            harness.starts().last()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn sick_events_take_little_of_the_rate_from_a_busy_lane() {
    let paced = trunkline::config::RelayConfig { requests_per_minute: 300, burst: 10, ..config() };
    let sick = (1..=3).map(|id| Envelope { lane: Lane::Presence, ..event(id, id as u64) });
    let good = (1_001..=121_000).map(|id| event(id, id as u64));
    let harness = Harness::start(paced, sick.chain(good), |sent| {
        soon(if sent.lane == Lane::Presence { all_retryable(&sent.ids) } else { taken(&[]) })
    });

    tokio::time::sleep(180 * SECOND).await;

    let sent = harness.sent();
    let sick = sent.iter().filter(|request| request.lane == Lane::Presence).count();
    assert!(sick < 60, "{sick} of {}", sent.len());
}

#[tokio::test(start_paused = true)]
async fn what_is_in_hand_stays_bounded_while_every_request_is_a_400_and_the_others_have_their_turns() {
    let paced = trunkline::config::RelayConfig { requests_per_minute: 300, burst: 10, ..config() };
    let events = (1..=40_000).map(|id| event(id, id as u64));
    let harness = Harness::start(paced, events, |_| soon(invalid("one of them is bad")));

    tokio::time::sleep(240 * SECOND).await;
    let early = harness.sent_ids().concat().into_iter().collect::<HashSet<u128>>().len();
    let in_hand = early - harness.dead().len();
    tokio::time::sleep(1_200 * SECOND).await;
    let late = harness.sent_ids().concat().into_iter().collect::<HashSet<u128>>().len();

    assert!(in_hand < 2_000, "{in_hand}");
    assert!(late - early > 1_000, "{early} had been sent once, then {late}");
}

/// What of the first `count` events of key 1 is in memory, by looking at every hundredth.
async fn in_memory(harness: &Harness, count: u64) -> usize {
    let mut found = 0;
    for seq in (1..=count).step_by(100) {
        let (answer, place) = tokio::sync::oneshot::channel();
        let question = Question { lane: Lane::Conversations, seq, key: Key(1), answer };
        harness.commands.send(Command::Locate(question)).await.unwrap();
        found += 100 * usize::from(place.await.unwrap() == Place::Next);
    }
    found
}

#[tokio::test(start_paused = true)]
async fn events_behind_a_key_that_waited_come_into_memory_a_few_at_a_time_and_all_are_delivered() {
    let harness = Harness::start(config(), (1..=20_000).map(|id| event(id, 1)), |sent| {
        let again = sent.ids.contains(&1) && sent.start < 600 * SECOND;
        (SECOND, if again { all_retryable(&sent.ids) } else { taken(&[]) })
    });
    while harness.starts().last().is_none_or(|last| *last < 600 * SECOND) {
        tokio::time::sleep(SECOND / 10).await;
    }
    harness.commands.send(Command::Pause(None)).await.unwrap();
    harness.settled(100).await;
    tokio::time::sleep(60 * SECOND).await;

    let in_memory = in_memory(&harness, 20_000).await;
    harness.commands.send(Command::Resume(None)).await.unwrap();
    harness.settled(20_000).await;

    assert!(in_memory < 4_000, "{in_memory}");
    assert_eq!(harness.dead(), []);
}

#[tokio::test(start_paused = true)]
async fn a_held_key_does_not_hold_its_lane_after_an_outage() {
    let briefly = trunkline::config::RelayConfig { retry_max: SECOND, ..config() };
    let (down, up) = (300 * SECOND..480 * SECOND, 480 * SECOND);
    let harness = Harness::start(briefly, [event(1, 1), event(2, 2)], move |sent| {
        let forbidden = answer(403, Verdict::Forbidden { reason: "403".into() });
        let is_held = sent.ids.contains(&1);
        soon(match () {
            () if down.contains(&sent.start) => unavailable(503),
            () if is_held => forbidden,
            () => taken(&[]),
        })
    });
    harness.settled(1).await;
    for id in 10..360 {
        harness.append(event(id, id as u64));
        tokio::time::sleep(2 * SECOND).await;
    }
    let status = harness.status(Lane::Conversations, |lane| lane.keys_held == 1).await;

    let sent = harness.sent();
    let others = || sent.iter().filter(|sent| sent.start > up && !sent.ids.contains(&1));
    assert!(others().next().unwrap().start - up < 5 * SECOND);
    assert!(sent.iter().skip(1).all(|sent| !sent.ids.contains(&1) || sent.ids == [1]), "{sent:?}");
    assert_eq!((status.state, status.reason), (LaneState::Running, None));
}

#[tokio::test(start_paused = true)]
async fn the_only_event_that_an_answer_does_not_name_is_asked_about_alone() {
    let harness = Harness::start(config(), [event(1, 1), event(2, 2)], |sent| {
        let mut answer = taken(&[(1, false)]);
        if let Verdict::Taken { errors } = &mut answer.verdict {
            errors.push(EventError { event_id: None, message: "of event 1, too".into(), retryable: false });
        }
        soon(if sent.ids.contains(&1) { answer } else { taken(&[]) })
    });

    harness.settled(2).await;

    assert_eq!(harness.outcomes(), [(1, Some(Rejected)), (2, None)]);
    assert_eq!(harness.sent_ids(), [vec![1, 2], vec![2]]);
}

#[tokio::test(start_paused = true)]
async fn expired_events_use_none_of_the_rate() {
    let mut aging = trunkline::config::RelayConfig { requests_per_minute: 300, burst: 10, ..config() };
    aging.event_max_age[Lane::Presence.index()] = 60 * SECOND;
    let accepted_at_ms = START_MS - 3_600_000;
    let old =
        (1..=30_000).map(|id| Envelope { lane: Lane::Presence, accepted_at_ms, ..event(id, id as u64) });
    let good = (100_001..=140_000).map(|id| event(id, id as u64));
    let harness = Harness::start(aging, old.chain(good), |_| soon(taken(&[])));

    tokio::time::sleep(60 * SECOND).await;

    let sent = harness.sent();
    assert_eq!(harness.dead().len(), 30_000);
    assert!(sent.len() > 280, "{}", sent.len());
    assert!(sent.iter().all(|sent| sent.lane == Lane::Conversations));
}

#[tokio::test(start_paused = true)]
async fn a_later_event_leaves_only_after_the_expired_one_is_settled() {
    let mut aging = config();
    aging.event_max_age[Lane::Conversations.index()] = 60 * SECOND;
    let all = [Envelope { accepted_at_ms: START_MS - 61_000, ..event(1, 1) }, event(2, 1), event(3, 3)];
    let by_id = all.iter().map(|event| (event.event_id.as_u128(), event.clone())).collect();
    let harness = Harness::start(aging, all, |_| soon(taken(&[])));

    harness.settled(3).await;

    check_order(&harness.stop().await, &by_id);
}

/// How long presence's events wait, one each `every`, while the endpoint of conversations hangs.
async fn waits_beside_a_lane_that_hangs(every: Duration, count: u128) -> Vec<Duration> {
    let harness = Harness::start(config(), (1..=5_000).map(|id| event(id, id as u64)), |sent| {
        let hangs = sent.lane == Lane::Conversations;
        if hangs { (30 * SECOND, Answer { status: None, ..unavailable(0) }) } else { soon(taken(&[])) }
    });
    let mut waits = Vec::new();
    for id in 100_001..=100_000 + count {
        tokio::time::sleep(every).await;
        let appended = tokio::time::Instant::now();
        harness.append(Envelope { lane: Lane::Presence, ..event(id, id as u64) });
        while !harness.sent_ids().iter().any(|ids| ids.contains(&id)) {
            tokio::time::sleep(SECOND / 10).await;
        }
        waits.push(appended.elapsed());
    }
    waits
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_hangs_keeps_no_other_waiting() {
    for (every, count) in [(17 * SECOND, 60), (613 * SECOND, 40)] {
        let waits = waits_beside_a_lane_that_hangs(every, count).await;

        assert!(waits.iter().all(|wait| *wait < 2 * SECOND), "{waits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_fewer_slots_than_lanes_all_lanes_deliver() {
    for max_in_flight in 1..=4 {
        let few = trunkline::config::RelayConfig { max_in_flight, ..config() };
        let lanes = Lane::ALL.into_iter().flat_map(|lane| {
            (1..=300).map(move |id| Envelope { lane, ..event(1_000 * (lane as u128 + 1) + id, id as u64) })
        });
        let harness = Harness::start(few, lanes, |_| (SECOND, taken(&[])));

        harness.settled(1_200).await;

        assert!(*harness.starts().last().unwrap() < 20 * SECOND, "{:?}", harness.starts().last());
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_window_without_end_is_believed_for_a_few_minutes() {
    let harness = Harness::start(config(), [event(1, 1)], |sent| {
        let reset = Duration::from_secs(1_800_000_000);
        let window = RateWindow { count: 300, allowed: 300, reset };
        soon(Answer { rate: (sent.number == 0).then_some(window), ..taken(&[]) })
    });
    harness.settled(1).await;

    harness.append(event(2, 2));
    harness.settled(2).await;

    assert!(harness.starts()[1] < 181 * SECOND, "{:?}", harness.starts());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_the_limit_asks_of_all_lanes_is_told_and_ends_with_another_account() {
    let harness = Harness::start(config(), [event(1, 1)], |sent| {
        let limited = Answer { retry_after: Some(6 * HOUR), ..unavailable(429) };
        soon(if sent.number == 0 { limited } else { taken(&[]) })
    });
    harness.started(1).await;
    tokio::time::sleep(10 * SECOND).await;
    harness.append(Envelope { lane: Lane::Presence, ..event(2, 2) });

    let status = harness.status(Lane::Presence, |lane| lane.reason.is_some()).await;
    tokio::time::sleep(60 * SECOND).await;
    let before = harness.sent().len();
    harness.commands.send(Command::ForgetLimits).await.unwrap();
    harness.commands.send(Command::TryNow).await.unwrap();
    harness.settled(2).await;

    assert_eq!(status.state, LaneState::Running);
    assert!(status.reason.unwrap().contains("rate limit"));
    assert!(status.next_attempt.is_some_and(|wait| wait > 5 * HOUR));
    assert_eq!(before, 1);
    assert!(harness.starts()[2] < 75 * SECOND, "{:?}", harness.starts());
}

#[tokio::test(start_paused = true)]
async fn an_event_that_the_api_wants_again_much_later_is_told() {
    let harness = Harness::start(config(), [event(1, 1)], |sent| {
        let later =
            Answer { retry_after: Some(HOUR), ..answer(409, Verdict::Conflict { message: "busy".into() }) };
        soon(if sent.number == 0 { later } else { taken(&[]) })
    });
    harness.started(1).await;

    let status = harness.status(Lane::Conversations, |lane| lane.reason.is_some()).await;
    harness.commands.send(Command::TryNow).await.unwrap();
    harness.settled(1).await;
    let after = harness.status(Lane::Conversations, |lane| lane.reason.is_none()).await;

    assert_eq!(status.state, LaneState::Running);
    assert_eq!(status.reason.unwrap(), "the API asked to send events of 1 conversation again later");
    assert!(status.next_attempt.is_some_and(|wait| wait > 3_590 * SECOND && wait <= HOUR));
    assert_eq!(after.next_attempt, None);
}
