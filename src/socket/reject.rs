//! Tells a peer that there is no place for it, and closes at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;

/// Peers at once that get time to read why. Each holds a descriptor meanwhile.
const AT_ONCE: usize = 32;

/// That time. A local peer reads within a millisecond.
const LIMIT: Duration = Duration::from_millis(200);

/// Bytes of a peer's request that are read and thrown away: closing with unread bytes resets a TCP connection,
/// and takes our words along.
const MAX_DISCARDED: usize = 64 * 1024;

/// Turns connections away. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rejections(Arc<Semaphore>);

impl Default for Rejections {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Rejections {
    /// Writes `words` and closes. If too many are turned away at once it does not wait until they are read.
    pub async fn say(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, words: Bytes) {
        let time_to_read = self.0.try_acquire();
        let saying = async {
            stream.write_all(&words).await?;
            stream.shutdown().await?;
            if time_to_read.is_ok() {
                let mut discarded = [0; 4 * 1024];
                let mut total = 0;
                while total < MAX_DISCARDED {
                    match stream.read(&mut discarded).await? {
                        0 => break,
                        read => total += read,
                    }
                }
            }
            std::io::Result::Ok(())
        };
        // A peer that is gone needs no words.
        let _ = tokio::time::timeout(LIMIT, saying).await;
    }
}
