//! A connection over pipes in memory, so that its times can be tested without waiting.

use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream, duplex};
use tokio::time::Instant;

use super::super::DoorSettings;
use super::*;
use crate::clock::Clock;
use crate::config;
use crate::event::Envelope;
use crate::metrics::Metrics;

/// Also the budget of long lines: there is room for one.
const MAX_LINE: usize = 256 * 1024;

#[derive(Clone)]
struct AcceptingSink;

impl Sink for AcceptingSink {
    fn submit(
        &self,
        events: Vec<Envelope>,
    ) -> impl Future<Output = Vec<Result<Appended, AppendError>>> + Send + 'static {
        std::future::ready(events.iter().map(|_| Ok(Appended::Duplicate)).collect())
    }
}

fn context() -> Arc<DoorContext<AcceptingSink>> {
    let config = config::IngestConfig {
        max_line: MAX_LINE,
        max_event: 1_000,
        max_pending: MAX_LINE,
        max_connections: 9,
        max_unacked: 1,
        unknown: config::UnknownPolicy::Forward,
        extra_arrays: Vec::new(),
        stream: config::StreamConfig {
            path: "unused".into(),
            mode: 0o660,
            group: None,
            allow_uids: Vec::new(),
        },
        http: config::HttpConfig { listen: None, token_file: None, allow_anonymous: false },
    };
    let settings = DoorSettings::new(config).unwrap();
    Arc::new(DoorContext::new(settings, AcceptingSink, Clock::tokio(0), Arc::new(Metrics::new())))
}

/// A producer's ends: what it writes to, and what it reads answers from, which holds `unread` bytes.
fn producer(context: &Arc<DoorContext<AcceptingSink>>, unread: usize) -> (DuplexStream, DuplexStream) {
    let (writer, theirs) = duplex(MAX_LINE);
    let (answers, reader) = duplex(unread);
    tokio::spawn(serve(theirs, answers, Peer::UNKNOWN, context.clone(), CancellationToken::new()));
    (writer, reader)
}

async fn answer(reader: DuplexStream) -> String {
    BufReader::new(reader).lines().next_line().await.unwrap().unwrap_or_default()
}

/// Of a line: so much that it needs room before the last of it is read.
fn long_part() -> Vec<u8> {
    vec![b'x'; 2 * SHORT_LINE]
}

#[tokio::test(start_paused = true)]
async fn a_long_line_that_trickles_gives_way_to_others_after_its_time() {
    let context = context();
    let (mut slow, slow_answers) = producer(&context, 1_000);
    let trickle = tokio::spawn(async move {
        slow.write_all(&long_part()).await?;
        loop {
            tokio::time::sleep(Duration::from_secs(4)).await;
            slow.write_all(b"x").await?;
        }
        #[expect(unreachable_code, reason = "names the type of the errors above")]
        std::io::Result::Ok(())
    });
    let (mut good, answers) = producer(&context, 1_000);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = Instant::now();

    good.write_all(&[long_part(), b"\n".to_vec()].concat()).await.unwrap();
    let answer = answer(answers).await;

    assert!(answer.contains("bad.request"), "{answer}");
    assert_eq!(began.elapsed().as_secs(), 29);
    assert!(trickle.await.unwrap().is_err(), "its connection is closed");
    drop(slow_answers);
}

#[tokio::test(start_paused = true)]
async fn a_producer_that_reads_no_answers_holds_no_room_of_others() {
    let context = context();
    let (mut deaf, _unread) = producer(&context, 16);
    deaf.write_all(b"no json, and the answer is not read\n").await.unwrap();
    deaf.write_all(&[long_part(), b"\n".to_vec()].concat()).await.unwrap();
    let (mut good, answers) = producer(&context, 1_000);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = Instant::now();

    good.write_all(&[long_part(), b"\n".to_vec()].concat()).await.unwrap();
    let answer = answer(answers).await;

    assert!(answer.contains("bad.request"), "{answer}");
    assert_eq!(began.elapsed().as_secs(), 0);
}
