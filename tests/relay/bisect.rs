//! The search for culprits on paused time: whatever stands in a batch, its culprits alone end as dead
//! letters, every other event is delivered once and in order, and few requests are spent on it.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy};
use trunkline::event::{Array, Envelope};
use trunkline::queue::DeadReason::{self, InvalidAlone, TooLarge};
use trunkline::upstream::{Answer, Verdict};
use uuid::Uuid;

use crate::kit::{
    Entry, Harness, START_MS, Sent, answer, check_order, config, event, invalid, soon, taken, unavailable,
};

/// Requests that a culprit in a batch of `events` may cost besides the batch's own: two for each halving.
/// That is 2·log2(n) rounded up to whole halvings, so less than 2·log2(n) + 2.
fn extra_max(events: usize) -> usize {
    let halvings = events.next_power_of_two().ilog2();
    2 * usize::try_from(halvings).expect("a logarithm is small")
}

/// How the API takes a request: as a whole or not at all, and it names nobody.
fn judge(ids: &[u128], culprits: &HashMap<u128, DeadReason>) -> Answer {
    let found: Vec<DeadReason> = ids.iter().filter_map(|id| culprits.get(id).copied()).collect();
    if found.contains(&TooLarge) {
        return answer(413, Verdict::TooLarge { message: "big".into() });
    }
    if found.is_empty() { taken(&[]) } else { invalid("one of them is bad") }
}

/// A batch as it first left, and what came after it.
#[derive(Debug, Default)]
struct Search {
    events: usize,
    culprits: usize,
    extra: usize,
}

/// Puts each request to the batch that its events first left in.
fn searches(sent: &[Sent], culprits: &HashMap<u128, DeadReason>) -> Vec<Search> {
    let mut found: Vec<Search> = Vec::new();
    let mut batch_of: HashMap<u128, usize> = HashMap::new();
    for request in sent {
        let batch = batch_of.get(&request.ids[0]).copied();
        let is_of_one_batch = request.ids.iter().all(|id| batch_of.get(id).copied() == batch);
        assert!(is_of_one_batch, "suspects stand with strangers: {:?}", request.ids);
        if let Some(batch) = batch {
            found[batch].extra += 1;
            continue;
        }
        batch_of.extend(request.ids.iter().map(|id| (*id, found.len())));
        let culprits = request.ids.iter().filter(|id| culprits.contains_key(id)).count();
        found.push(Search { events: request.ids.len(), culprits, extra: 0 });
    }
    found
}

#[tokio::test(start_paused = true)]
async fn one_culprit_costs_two_requests_for_each_halving_at_most_wherever_it_stands() {
    let mut measured = Vec::new();

    for size in [1, 2, 3, 5, 8, 33, 64, 65, 100] {
        let mut worst = 0;
        for culprit in 1..=size {
            let events = (1..=size).map(|id| event(id, u64::try_from(id).unwrap()));
            let harness = Harness::start(config(), events, move |sent| {
                soon(judge(&sent.ids, &HashMap::from([(culprit, InvalidAlone)])))
            });
            harness.settled(usize::try_from(size).unwrap()).await;
            assert_eq!(harness.dead(), [(culprit, InvalidAlone)]);
            worst = worst.max(harness.sent().len() - 1);
            harness.stop().await;
        }
        measured.push((size, worst));
    }

    let most = [(1, 0), (2, 2), (3, 4), (5, 6), (8, 6), (33, 12), (64, 12), (65, 14), (100, 14)];
    assert_eq!(measured, most);
    assert!(most.iter().all(|(size, worst)| *worst == extra_max(usize::try_from(*size).unwrap())));
}

/// An event to come: its place in the order, when it comes, and whether the API will refuse it.
#[derive(Clone, Debug)]
struct Draw {
    key: u64,
    is_second_array: bool,
    time: i64,
    pause: Duration,
    roll: u8,
    is_large: bool,
}

fn any_draw() -> impl Strategy<Value = Draw> {
    let place = (0..12_u64, proptest::bool::ANY, 0..4_i64);
    // Half of the events come together with the one before, as in a backlog.
    let pause = (proptest::bool::ANY, 0..400_u64).prop_map(|(comes_later, ms)| u64::from(comes_later) * ms);
    (place, pause, 0..100_u8, proptest::bool::ANY).prop_map(|(place, pause, roll, is_large)| Draw {
        key: place.0,
        is_second_array: place.1,
        time: place.2,
        pause: Duration::from_millis(pause),
        roll,
        is_large,
    })
}

/// What is put in, and how the API behaves.
#[derive(Clone, Debug)]
struct Case {
    draws: Vec<Draw>,
    /// Of a hundred events so many are culprits.
    percent: u8,
    batch_max_events: usize,
    /// Of each answer, in turn.
    delays_ms: Vec<u64>,
    /// The requests, by number, that find no API.
    outages: Vec<bool>,
}

fn any_case(outages_max: usize) -> impl Strategy<Value = Case> {
    let draws = vec(any_draw(), 1..250);
    // Mostly a few, as in life; at times nothing but culprits.
    let percent = proptest::prop_oneof![4 => 0..12_u8, 1 => 0..=100_u8];
    let outages = vec(proptest::bool::ANY, 0..=outages_max);
    (draws, percent, 1..=100_usize, vec(1..2_000_u64, 1..9), outages).prop_map(
        |(draws, percent, batch_max_events, delays_ms, outages)| Case {
            draws,
            percent,
            batch_max_events,
            delays_ms,
            outages,
        },
    )
}

/// A case that is over.
struct Outcome {
    culprits: HashMap<u128, DeadReason>,
    events: HashMap<u128, Envelope>,
    ends: Vec<(u128, Option<DeadReason>)>,
    /// Ids of the events that the API took, as often as it took them.
    delivered: Vec<u128>,
    sent: Vec<Sent>,
    log: Vec<Entry>,
}

impl Outcome {
    fn of(case: &Case) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime can be made").block_on(Self::play(case))
    }

    async fn play(case: &Case) -> Self {
        let numbered = || (1_u128..).zip(&case.draws);
        let culprits: HashMap<u128, DeadReason> = numbered()
            .filter(|(_, draw)| draw.roll < case.percent)
            .map(|(id, draw)| (id, if draw.is_large { TooLarge } else { InvalidAlone }))
            .collect();
        let events: HashMap<u128, Envelope> = numbered().map(|(id, draw)| (id, envelope(id, draw))).collect();
        let (delays_ms, outages, known) = (case.delays_ms.clone(), case.outages.clone(), culprits.clone());
        let limits = trunkline::config::RelayConfig { batch_max_events: case.batch_max_events, ..config() };
        let harness = Harness::start(limits, [], move |sent| {
            let is_out = outages.get(sent.number).copied().unwrap_or(false);
            let answer = if is_out { unavailable(503) } else { judge(&sent.ids, &known) };
            (Duration::from_millis(delays_ms[sent.number % delays_ms.len()]), answer)
        });
        for (id, draw) in numbered() {
            tokio::time::sleep(draw.pause).await;
            harness.append(events[&id].clone());
        }
        harness.settled(case.draws.len()).await;
        let (ends, sent) = (harness.outcomes(), harness.sent());
        let log = harness.stop().await;
        let is_out = |number: usize| case.outages.get(number).copied().unwrap_or(false);
        let is_taken = |request: &&Sent| {
            !is_out(request.number) && !request.ids.iter().any(|id| culprits.contains_key(id))
        };
        let mut delivered: Vec<u128> =
            sent.iter().filter(is_taken).flat_map(|request| request.ids.clone()).collect();
        delivered.sort_unstable();
        Self { culprits, events, ends, delivered, sent, log }
    }

    /// Culprits are dead for their own reason, the others were delivered once, keys kept their order.
    fn check(&self) {
        let mut ids: Vec<u128> = self.events.keys().copied().collect();
        ids.sort_unstable();
        let ends: Vec<_> = ids.iter().map(|id| (*id, self.culprits.get(id).copied())).collect();
        assert_eq!(self.ends, ends);
        ids.retain(|id| !self.culprits.contains_key(id));
        assert_eq!(self.delivered, ids);
        check_order(&self.log, &self.events);
    }
}

fn envelope(id: u128, draw: &Draw) -> Envelope {
    Envelope {
        array: Array::Extra(if draw.is_second_array { "b".into() } else { "a".into() }),
        event_time_ms: START_MS + draw.time,
        body: Bytes::from(format!(r#"{{"eventId":"{}"}}"#, Uuid::from_u128(id))),
        ..event(id, draw.key)
    }
}

proptest::proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn culprits_alone_are_dead_and_the_others_delivered_once_in_order_at_few_requests_a_culprit(
        case in any_case(0),
    ) {
        let outcome = Outcome::of(&case);

        outcome.check();
        for search in searches(&outcome.sent, &outcome.culprits) {
            assert!(search.extra <= search.culprits * extra_max(search.events), "{search:?}");
        }
    }

    /// Suspects that find no API go back among the others, so that a search may begin anew: what it costs
    /// then is not bounded by the culprits alone.
    #[test]
    fn an_outage_in_the_midst_of_a_search_changes_no_events_end(case in any_case(60)) {
        Outcome::of(&case).check();
    }
}
