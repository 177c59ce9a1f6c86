//! Lanes, keys and events that are sick for long: what they cost the others, and that nothing is lost by it.

mod relay_support;

use std::time::Duration;

use relay_support::{House, config, event, soon, taken};

use trunkline::upstream::Answer;

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
