//! Lanes, keys and events that are sick for long: what they cost the others, and that nothing is lost by it.

mod relay_support;

use std::time::Duration;

use relay_support::{House, config, event, soon, taken};

use trunkline::event::{Envelope, Lane};
use trunkline::queue::DeadReason::Attempts;
use trunkline::upstream::Answer;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn all_retryable(ids: &[u128]) -> Answer {
    taken(&ids.iter().map(|id| (*id, true)).collect::<Vec<_>>())
}

#[tokio::test(start_paused = true)]
async fn a_lane_whose_events_are_all_called_retryable_for_half_a_day_loses_none() {
    let paced = trunkline::config::Relay { requests_per_minute: 300, burst: 10, ..config() };
    let house = House::start(paced, (1..=300).map(|id| event(id, id as u64)), |sent| {
        soon(if sent.start < 12 * HOUR { all_retryable(&sent.ids) } else { taken(&[]) })
    });

    house.settled(300).await;

    assert_eq!(house.dead(), []);
}

#[tokio::test(start_paused = true)]
async fn a_few_sick_events_in_a_quiet_lane_are_asked_for_ever_more_rarely_and_given_up() {
    for count in 1..=3 {
        let events = (1..=count).map(|id| event(id, id as u64));
        let house = House::start(config(), events, |sent| soon(all_retryable(&sent.ids)));

        tokio::time::sleep(HOUR).await;
        let requests = house.sent().len();
        house.settled(count as usize).await;

        // With full jitter a wait of 60 s at most is 30 s in the mean: 120 in an hour, and those of the start.
        assert!(requests < 180 * count as usize, "{requests} requests for {count}");
        assert!(house.dead().iter().all(|(_, reason)| *reason == Attempts));
        assert!(house.starts().last().is_some_and(|last| *last < 3 * HOUR), "{:?}", house.starts().last());
    }
}

#[tokio::test(start_paused = true)]
async fn sick_events_take_little_of_the_rate_from_a_busy_lane() {
    let paced = trunkline::config::Relay { requests_per_minute: 300, burst: 10, ..config() };
    let sick = (1..=3).map(|id| Envelope { lane: Lane::Presence, ..event(id, id as u64) });
    let good = (1_001..=121_000).map(|id| event(id, id as u64));
    let house = House::start(paced, sick.chain(good), |sent| {
        soon(if sent.lane == Lane::Presence { all_retryable(&sent.ids) } else { taken(&[]) })
    });

    tokio::time::sleep(180 * SECOND).await;

    let sent = house.sent();
    let sick = sent.iter().filter(|request| request.lane == Lane::Presence).count();
    assert!(sick < 60, "{sick} of {}", sent.len());
}
