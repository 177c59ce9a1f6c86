//! The stream door as its producers see it.

use std::os::unix::fs::PermissionsExt;

use trunkline::queue::AppendError;
use trunkline::socket::BindError;
use uuid::Uuid;

use crate::kit::{Harness, OK, bind, event, ingest, line, until};

#[tokio::test]
async fn bad_lines_get_their_answers_and_good_lines_around_them_arrive() {
    let harness = Harness::new(|_| {});
    let mut producer = harness.producer().await;
    let ids = [(); 3].map(|()| Uuid::new_v4());
    let mixed = format!("{{\"userPresenceEvents\":[{},{{}}],\"nope\":[{{}}]}}\n", event(ids[1]));

    producer.send(line(ids[0])).await;
    producer.send(b"not json\n\r\n\n{\"a\0\":1}\n\xff\xfe\n{}\n").await;
    producer.send(vec![b'x'; 200_000]).await;
    producer.send(b"\n").await;
    producer.send(mixed).await;
    producer.send(line(ids[2]).replace('\n', "\r\n")).await;
    producer.half_close();
    let answers = producer.rest().await;

    assert_eq!(answers.len(), 8);
    assert_eq!((answers[0].as_str(), answers[7].as_str()), (OK, OK));
    assert!(answers[1..4].iter().all(|answer| answer.contains(r#""status":400"#)), "{answers:?}");
    assert!(answers[4].contains("zero.events.submitted"));
    assert!(answers[5].contains(r#""status":413"#));
    assert!(answers[6].contains("userPresenceEvents[1]:") && answers[6].contains("nope[0]:"));
    assert_eq!(harness.memory.ids(), ids);
}

#[tokio::test]
async fn a_half_closed_connection_gets_all_answers_in_order() {
    let harness = Harness::new(|_| {});
    let mut producer = harness.producer().await;
    harness.memory.gate.send_replace(false);

    for number in 0..500 {
        let text = if number % 2 == 0 { line(Uuid::new_v4()) } else { "bad\n".to_owned() };
        producer.send(text).await;
    }
    producer.half_close();
    until(|| harness.memory.count() == 250).await;
    harness.memory.gate.send_replace(true);
    let answers = producer.rest().await;

    assert_eq!(answers.len(), 500);
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer == OK, number % 2 == 0);
    }
}

#[tokio::test]
async fn reading_pauses_at_max_unacked() {
    let harness = Harness::new(|config| config.max_unacked = 3);
    let mut producer = harness.producer().await;
    harness.memory.gate.send_replace(false);

    let lines: String = (0..10).map(|_| line(Uuid::new_v4())).collect();
    producer.send(lines).await;
    until(|| harness.memory.count() == 3).await;
    let mut other = harness.producer().await;
    other.send(line(Uuid::new_v4())).await;
    until(|| harness.memory.count() == 4).await;
    harness.memory.gate.send_replace(true);
    producer.half_close();

    assert_eq!(producer.rest().await, [OK; 10]);
    assert_eq!(other.answer().await.as_deref(), Some(OK));
}

#[tokio::test]
async fn unanswered_bytes_stay_below_max_pending() {
    let one = line(Uuid::new_v4()).len() - 1;
    let harness = Harness::new(|config| config.max_pending = 2 * one);
    let mut producers = [harness.producer().await, harness.producer().await, harness.producer().await];
    harness.memory.gate.send_replace(false);

    for producer in &mut producers {
        producer.send(line(Uuid::new_v4())).await;
        producer.send(line(Uuid::new_v4())).await;
    }
    until(|| harness.memory.count() == 2).await;
    let free = harness.context.admission.pending_free();
    harness.memory.gate.send_replace(true);

    assert_eq!(free, 0);
    for producer in &mut producers {
        producer.half_close();
        assert_eq!(producer.rest().await, [OK; 2]);
    }
    assert_eq!(harness.context.admission.pending_free(), 2 * one);
}

#[tokio::test]
async fn a_full_queue_is_told_as_retryable_with_array_and_index() {
    let harness = Harness::new(|_| {});
    let mut producer = harness.producer().await;
    *harness.memory.fault.lock().unwrap() = Some(AppendError::Full { max_bytes: 7 });
    let early = Uuid::new_v4();
    let later = event(Uuid::new_v4()).replace("13:00:00", "14:00:00");

    producer.send(format!("{{\"userPresenceEvents\":[{later},{}]}}\n", event(early))).await;
    let answer = producer.answer().await.unwrap();

    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["errors"][0]["eventId"], early.to_string());
    assert_eq!(answer["errors"][0]["index"], 1);
    assert_eq!(answer["errors"][0]["retryable"], true);
    assert_eq!(answer["errors"][1]["message"], "userPresenceEvents[0]: queue is full at 7 bytes");
}

#[tokio::test]
async fn a_stop_answers_what_was_read_and_removes_the_file() {
    let harness = Harness::new(|_| {});
    let mut producer = harness.producer().await;
    harness.memory.gate.send_replace(false);
    producer.send(line(Uuid::new_v4())).await;
    until(|| harness.memory.count() == 1).await;
    let (path, gate) = (harness.path.clone(), harness.memory.gate.clone());

    let stopped = tokio::spawn(harness.stop());
    until(|| !path.exists()).await;
    gate.send_replace(true);

    assert_eq!(producer.rest().await, [OK]);
    stopped.await.unwrap();
}

#[tokio::test]
async fn a_hundred_hostile_connections_change_nothing_for_a_good_one() {
    let harness = Harness::new(|_| {});
    let mut hostile = Vec::new();
    for number in 0..100 {
        let mut producer = harness.producer().await;
        match number % 4 {
            0 => producer.send(b"{\"userPresenceEvents\":[").await,
            1 => producer.send(vec![0; 64 * 1024]).await,
            2 => producer.send(b"nonsense\n".repeat(1_000)).await,
            _ => {}
        }
        hostile.push(producer);
    }
    let mut good = harness.producer().await;

    for _ in 0..200 {
        good.send(line(Uuid::new_v4())).await;
        assert_eq!(good.answer().await.as_deref(), Some(OK));
    }

    assert_eq!(harness.memory.count(), 200);
}

#[tokio::test]
async fn a_stale_socket_file_is_replaced_and_a_living_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/events.sock");
    let mut config = ingest(&path).stream;
    config.mode = 0o620;

    let living = bind(&config).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let refused = bind(&config).unwrap_err();
    drop(living);
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let replaced = bind(&config);

    assert_eq!(mode, 0o620);
    assert!(matches!(refused, BindError::InUse(_)));
    assert_eq!(refused.exit_code(), 73);
    assert!(replaced.is_ok());
}

#[tokio::test]
async fn what_is_no_socket_stays_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("precious");
    std::fs::write(&path, "data").unwrap();

    let refused = bind(&ingest(&path).stream).unwrap_err();

    assert!(matches!(refused, BindError::NotASocket(_)));
    assert_eq!(std::fs::read(&path).unwrap(), b"data");
}

#[tokio::test]
async fn a_uid_that_is_not_listed_is_turned_away() {
    let harness = Harness::new(|config| config.stream.allow_uids = vec!["4294967".to_owned()]);
    let mut producer = harness.producer().await;

    let answers = producer.rest().await;

    assert!(answers[0].contains("allow_uids"));
}

#[tokio::test]
async fn unknown_fields_go_through_and_are_counted_by_array() {
    let harness = Harness::new(|_| {});
    let mut producer = harness.producer().await;
    let line = line(Uuid::new_v4()).replacen("\"userId\"", "\"newerField\":1,\"userId\"", 1);

    producer.send(&line).await;

    assert_eq!(producer.answer().await.as_deref(), Some(OK));
    let label = trunkline::metrics::ArrayLabel { array: "userPresenceEvents".to_owned() };
    assert_eq!(harness.context.metrics.events_unknown.get_or_create(&label).get(), 1);
}
