//! Reads a request's body within its limits.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use super::super::{Admission, PendingBytes};
use super::reply::Refused;

/// Most time a body may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Bytes that any body may have in memory unaccounted, and the step in which more are asked for.
const STEP: usize = 64 * 1024;

/// Reads at most `max` bytes. Long bodies wait for room, so that many slow ones cannot fill the memory,
/// and short ones never wait for them.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    max: usize,
    admission: &Arc<Admission>,
) -> Result<Bytes, Refused> {
    let too_large = || Refused::TooLarge(format!("the body is over {max} bytes (ingest.max_line)"));
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|length| length.parse::<usize>().ok()).is_some_and(|length| length > max) {
        return Err(too_large());
    }
    let reading = async {
        let mut body = body;
        let mut raw = BytesMut::new();
        let mut held: Vec<PendingBytes> = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Refused::Bad("bad.request", "the body is cut short".to_owned()))?;
            let Ok(data) = frame.into_data() else { continue };
            if raw.len() + data.len() > max {
                return Err(too_large());
            }
            while raw.len() + data.len() > (held.len() + 1) * STEP {
                held.push(admission.long_line(STEP).await);
            }
            raw.extend_from_slice(&data);
        }
        Ok(raw.freeze())
    };
    tokio::time::timeout(LIMIT, reading).await.unwrap_or(Err(Refused::TooSlow))
}
