//! SIGKILL under load: what was answered arrives, in the order of its conversation.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::json;
use uuid::Uuid;

use crate::common::{Home, Producer, Sandbox, accepted, eventually, hold_event};

const ROUNDS: usize = 20;
const PRODUCERS: usize = 4;
/// Lines that a producer has unanswered at most.
const WINDOW: usize = 64;
/// Answers that are awaited in a round before the kill.
const ANSWERS_A_ROUND: usize = 150;

/// What producers know: ids answered as accepted, by conversation in the order of writing.
#[derive(Default)]
struct Ledger {
    answered: Mutex<HashMap<Uuid, Vec<String>>>,
    count: AtomicUsize,
    stop: AtomicBool,
}

/// Writes events of its own conversation, `WINDOW` at once, over as many connections as it takes.
fn produce(socket: PathBuf, ledger: Arc<Ledger>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut nth = 0;
        while !ledger.stop.load(Ordering::SeqCst) {
            // A new conversation a connection: what was written but not answered may have been taken,
            // so a later event of the same conversation could not be told from one out of order.
            let conversation = Uuid::new_v4();
            let Ok(mut producer) = Producer::try_connect(&socket) else {
                std::thread::yield_now();
                continue;
            };
            let mut unanswered = std::collections::VecDeque::new();
            while !ledger.stop.load(Ordering::SeqCst) {
                while unanswered.len() < WINDOW {
                    nth += 1;
                    let (id, line) = hold_event(conversation, nth);
                    if producer.line(&line).is_err() {
                        break;
                    }
                    unanswered.push_back(id.to_string());
                }
                let Ok(Some(answer)) = producer.answer() else { break };
                assert_eq!(answer, accepted());
                let id = unanswered.pop_front().unwrap();
                ledger.answered.lock().unwrap().entry(conversation).or_default().push(id);
                ledger.count.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
}

#[test]
fn what_was_answered_survives_twenty_kills_in_order() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "1000000", "--latency", "5ms"]);
    let home = Home::new(&sandbox.addr, "");
    let ledger = Arc::new(Ledger::default());
    let producers: Vec<_> = (0..PRODUCERS).map(|_| produce(home.socket(), ledger.clone())).collect();

    for round in 0..ROUNDS {
        let before = ledger.count.load(Ordering::SeqCst);
        let daemon = home.spawn();
        eventually(&format!("answers in round {round}"), || {
            ledger.count.load(Ordering::SeqCst) >= before + ANSWERS_A_ROUND
        });
        daemon.sigkill();
    }
    ledger.stop.store(true, Ordering::SeqCst);
    for producer in producers {
        producer.join().unwrap();
    }
    let _daemon = home.run();

    let answered = ledger.answered.lock().unwrap();
    let ids: HashSet<&String> = answered.values().flatten().collect();
    eventually("everything answered arrives", || {
        let taken: HashSet<String> = sandbox.taken_ids().into_iter().collect();
        ids.iter().all(|id| taken.contains(*id))
    });
    let mut first_taken = HashMap::new();
    for (at, id) in sandbox.taken_ids().into_iter().enumerate() {
        first_taken.entry(id).or_insert(at);
    }
    for (conversation, ids) in answered.iter() {
        let places: Vec<usize> = ids.iter().map(|id| first_taken[id]).collect();
        assert!(places.is_sorted(), "{conversation} out of order: {places:?}");
    }
}

#[test]
fn a_kill_while_the_api_is_down_loses_nothing() {
    let sandbox = Sandbox::start(&["--status", "500"]);
    let home = Home::new(&sandbox.addr, "");
    let daemon = home.run();
    let mut producer = home.producer();
    let mut ids = HashSet::new();
    for nth in 0..300 {
        let (id, line) = hold_event(Uuid::new_v4(), nth);
        assert_eq!(producer.ask(&line), accepted());
        ids.insert(id.to_string());
    }

    daemon.sigkill();
    sandbox.set_faults(&json!({"status": null}));
    let _daemon = home.run();

    eventually("all arrive", || sandbox.stat("distinct") == 300);
    assert_eq!(sandbox.taken_ids().into_iter().collect::<HashSet<_>>(), ids);
}
