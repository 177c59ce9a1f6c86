//! Reads a request's body within its limits.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use super::super::{Admission, PendingBytes};
use super::reply::HttpRefusal;
use crate::clock::Clock;

/// Most time that a body may take to come; what it waits for room is not counted.
const LIMIT: Duration = Duration::from_secs(30);
/// Most time that a long body waits for room: bodies come from this host, and those before it take milliseconds.
const ROOM_LIMIT: Duration = Duration::from_secs(10);
/// Bytes that any body may have in memory unaccounted.
const SHORT: usize = 64 * 1024;

/// A body that came whole.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) bytes: Bytes,
    /// What a long one holds of the room of all. Keep it until `bytes` are accounted for elsewhere.
    pub(super) room: Option<PendingBytes>,
}

/// Reads at most `max` bytes. A long body waits for all the room that it may need at once: bodies that hold a
/// part and wait for more would wait for each other. Short ones never wait for them.
pub(super) async fn read(
    mut body: Body,
    max: usize,
    admission: &Admission,
    clock: &Clock,
) -> Result<Whole, HttpRefusal> {
    let too_large = || HttpRefusal::TooLarge(format!("the body is over {max} bytes (ingest.max_line)"));
    // Hyper holds a body to the length that it announces.
    let needed = body.size_hint().exact().map_or(max, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if needed > max {
        return Err(too_large());
    }
    let mut raw = BytesMut::new();
    let mut room = None;
    let mut left = LIMIT;
    loop {
        let began = clock.mono();
        let frame = tokio::time::timeout(left, body.frame()).await.map_err(|_| HttpRefusal::TooSlow)?;
        left = left.saturating_sub(clock.mono().since(began));
        let Some(frame) = frame else { return Ok(Whole { bytes: raw.freeze(), room }) };
        let frame = frame.map_err(|_| HttpRefusal::Bad("bad.request", "the body is cut short".to_owned()))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = raw.len() + data.len();
        if length > max {
            return Err(too_large());
        }
        if length > SHORT && room.is_none() {
            let taken = tokio::time::timeout(ROOM_LIMIT, admission.long_line(needed)).await;
            room = Some(taken.map_err(|_| HttpRefusal::NoRoom)?);
        }
        raw.extend_from_slice(&data);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::sync::mpsc::{Sender, channel};
    use tokio::time::Instant;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;

    const MAX: usize = 200 * 1024;

    /// A body of unknown length whose parts are sent by hand.
    fn body() -> (Sender<Result<Bytes, Infallible>>, Body) {
        let (parts, stream) = channel(16);
        (parts, Body::from_stream(ReceiverStream::new(stream)))
    }

    fn part(bytes: usize) -> Result<Bytes, Infallible> {
        Ok(vec![b' '; bytes].into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_coming_is_told_so_after_its_time() {
        let (admission, clock, began) = (Admission::new(MAX, 1), Clock::tokio(0), Instant::now());
        let (parts, slow) = body();
        parts.send(part(100)).await.unwrap();

        let read = read(slow, MAX, &admission, &clock).await;

        assert_eq!((read.unwrap_err(), began.elapsed().as_secs()), (HttpRefusal::TooSlow, 30));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_body_without_room_is_told_that_and_a_short_one_needs_none() {
        let (admission, clock, began) = (Admission::new(MAX, 1), Clock::tokio(0), Instant::now());
        let _others = admission.long_line(1).await;
        let whole = |bytes: usize| Body::from(vec![b' '; bytes]);

        let short = read(whole(SHORT), MAX, &admission, &clock).await;
        let short_took = began.elapsed().as_secs();
        let long = read(whole(MAX), MAX, &admission, &clock).await;

        assert_eq!((short.unwrap().bytes.len(), short_took), (SHORT, 0));
        assert_eq!((long.unwrap_err(), began.elapsed().as_secs()), (HttpRefusal::NoRoom, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_body_waits_for_room_is_none_of_its_own_time() {
        let (admission, clock, began) = (Admission::new(MAX, 1), Clock::tokio(0), Instant::now());
        let others = admission.long_line(MAX).await;
        let (parts, long) = body();
        let seconds = |count| tokio::time::sleep(Duration::from_secs(count));
        let sending = async {
            seconds(24).await;
            parts.send(part(100 * 1024)).await.unwrap();
            seconds(9).await;
            drop(others);
            seconds(5).await;
            parts.send(part(100 * 1024)).await.unwrap();
            drop(parts);
        };

        let (whole, ()) = tokio::join!(read(long, MAX, &admission, &clock), sending);

        let whole = whole.unwrap();
        assert_eq!((whole.bytes.len(), began.elapsed().as_secs()), (MAX, 38));
        assert!(whole.room.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn long_bodies_never_wait_for_each_other() {
        let (admission, clock, began) = (Admission::new(MAX, 1), Clock::tokio(0), Instant::now());
        let pass = async || {
            let (parts, coming) = body();
            let send = async {
                for _ in 0..MAX / 1024 {
                    parts.send(part(1024)).await.unwrap();
                }
                drop(parts);
            };
            let (whole, ()) = tokio::join!(read(coming, MAX, &admission, &clock), send);
            whole.map(|whole| whole.bytes.len())
        };

        let lengths = tokio::join!(pass(), pass(), pass());

        assert_eq!((lengths, began.elapsed().as_secs()), ((Ok(MAX), Ok(MAX), Ok(MAX)), 0));
    }
}
