//! What holds a lane although the API is well.

use std::time::Duration;

use trunkline::event::{Envelope, Lane};
use trunkline::relay::{Command, LaneState};
use trunkline::upstream::Verdict;

use crate::kit::{Harness, answer, config, event, invalid, soon, taken, unavailable};

const LANE: Lane = Lane::Conversations;

#[tokio::test(start_paused = true)]
async fn what_is_withheld_leaves_only_after_its_release() {
    let harness =
        Harness::start_withheld(Some("for client A"), config(), [event(1, 1)], |_| soon(taken(&[])));

    let held = harness.status(LANE, |lane| lane.state == LaneState::Misconfigured).await;
    let before = harness.sent().len();
    harness.commands.send(Command::Release).await.unwrap();
    harness.settled(1).await;

    assert_eq!((held.reason.as_deref(), before), (Some("for client A"), 0));
}

#[tokio::test(start_paused = true)]
async fn a_lane_whose_dead_letters_find_no_room_holds_alone_and_goes_on_by_itself() {
    let presence = Envelope { lane: Lane::Presence, ..event(3, 3) };
    let harness = Harness::start(config(), [event(1, 1)], |sent| {
        let is_first = sent.ids.contains(&1);
        soon(if is_first { taken(&[(1, false)]) } else { taken(&[]) })
    });
    harness.fill_dead_letters(true);

    let held = harness.status(LANE, |lane| lane.state == LaneState::BackingOff).await;
    harness.append(event(2, 2));
    harness.append(presence);
    harness.settled(1).await;
    let sent = harness.sent_ids().concat();
    harness.fill_dead_letters(false);
    harness.settled(3).await;

    assert!(held.reason.unwrap().contains("dead letters"));
    assert_eq!(sent, [1, 3]);
    assert_eq!(harness.sent_ids().concat(), [1, 3, 2]);
}

#[tokio::test(start_paused = true)]
async fn while_the_host_is_down_one_probe_at_a_time_leaves_for_all_lanes_and_then_all_go_on_at_once() {
    let events = Lane::ALL.map(|lane| Envelope { lane, ..event(lane as u128 + 1, 1) });
    let harness = Harness::start(config(), events, |sent| {
        let is_down = sent.start < Duration::from_secs(3_600);
        (Duration::from_secs(2), if is_down { unavailable(503) } else { taken(&[]) })
    });

    harness.settled(4).await;

    let starts = harness.starts();
    let together = |at: Duration| {
        starts.iter().filter(|start| **start <= at && at < **start + Duration::from_secs(2)).count()
    };
    let settled_down = starts.iter().filter(|start| **start > Duration::from_secs(60));
    assert!(settled_down.clone().all(|start| together(*start) == 1 || *start > Duration::from_secs(3_600)));
    let first_after = starts.iter().find(|start| **start >= Duration::from_secs(3_600)).unwrap();
    let last = starts.last().unwrap();
    assert!(*last - *first_after < Duration::from_secs(5), "{first_after:?} to {last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_search_for_a_culprit_takes_at_most_every_second_request_and_few_in_all() {
    let one_at_a_time = trunkline::config::RelayConfig { max_in_flight: 1, ..config() };
    let events = (1..=2_000).map(|id| event(id, u64::try_from(id).unwrap()));
    let harness = Harness::start(one_at_a_time, events, |sent| {
        soon(if sent.ids.contains(&37) { invalid("one of them") } else { taken(&[]) })
    });

    harness.settled(2_000).await;

    let is_search: Vec<bool> = harness.sent_ids().iter().skip(1).map(|ids| ids[0] <= 100).collect();
    let others_end = is_search.iter().rposition(|is_search| !is_search).unwrap();
    assert!(is_search[..others_end].windows(2).all(|pair| pair != [true, true]), "{is_search:?}");
    let search = is_search.iter().filter(|is_search| **is_search).count();
    assert!(search <= 2 * 7, "{search} requests for one culprit of a hundred");
    assert_eq!(harness.dead().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_the_api_calls_too_large_makes_the_next_ones_smaller() {
    let events = (1..=400).map(|id| event(id, u64::try_from(id).unwrap()));
    let harness = Harness::start(config(), events, |sent| {
        let code = "max.batch.size.surpassed".to_owned();
        let too_many = Verdict::Invalid { code, message: "too many".to_owned(), hints: Vec::new() };
        soon(if sent.ids.len() > 60 { answer(400, too_many) } else { taken(&[]) })
    });

    harness.settled(400).await;
    (401..=600).for_each(|id| harness.append(event(id, u64::try_from(id).unwrap())));
    harness.settled(600).await;

    assert!(harness.dead().is_empty());
    assert!(harness.sent_ids().iter().filter(|ids| ids[0] > 400).all(|ids| ids.len() <= 60));
}

#[tokio::test(start_paused = true)]
async fn a_lane_whose_events_all_expired_in_an_outage_has_nothing_to_wait_for() {
    let mut aging = config();
    aging.event_max_age[LANE.index()] = Duration::from_secs(60);
    let harness = Harness::start(aging, [event(1, 1)], |_| soon(unavailable(503)));

    harness.status(LANE, |lane| lane.state == LaneState::BackingOff).await;
    harness.settled(1).await;
    let idle = harness.status(LANE, |lane| lane.state == LaneState::Running).await;
    harness.append(Envelope { accepted_at_ms: harness.clock.unix_ms(), ..event(2, 2) });
    let failing = harness.status(LANE, |lane| lane.state == LaneState::BackingOff).await;

    assert_eq!((idle.reason, failing.reason.as_deref()), (None, Some("503")));
}
