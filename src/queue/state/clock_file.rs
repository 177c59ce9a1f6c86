//! What is known of the clocks of this boot, kept over a restart: the file `clock` of the queue's directory.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::{AgeClock, Clock};
use crate::files;

/// Name of the file.
const FILE: &str = "clock";

/// The file's content, as JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    boot: Uuid,
    ages: AgeClock,
}

/// Keeps the file up to date.
#[derive(Debug)]
pub(crate) struct ClockFile {
    dir: PathBuf,
    boot: Option<Uuid>,
    written: Option<AgeClock>,
}

impl ClockFile {
    /// Reads the file of `dir` and has `clock` go on with it if it is of this boot. If it is not, the records are of
    /// an earlier boot, and `newest_ms` says which stamp is their newest. Where the file cannot be read or is damaged
    /// nobody knows: then ages count from this start on.
    pub(crate) fn open(dir: &Path, clock: &Clock, newest_ms: Option<i64>) -> Self {
        let mut file = Self { dir: dir.to_path_buf(), boot: clock.boot(), written: None };
        let found = || newest_ms.into_iter().for_each(|newest_ms| clock.found_record(newest_ms));
        match files::read_if_there(dir, FILE) {
            Ok(None) => found(),
            Ok(Some(raw)) => match serde_json::from_slice::<Content>(&raw) {
                Ok(content) if Some(content.boot) == file.boot => clock.resume(content.ages),
                Ok(_) => found(),
                Err(error) => {
                    tracing::warn!(%error, "the file `clock` is damaged; ages count from this start on")
                }
            },
            Err(error) => {
                tracing::warn!(%error, "cannot read the file `clock`; ages count from this start on");
                // The next start may be able to read it.
                file.boot = None;
            }
        }
        file.keep(clock);
        file
    }

    /// Writes what is known now, if that differs. Where it cannot be written, the next start counts ages as if the
    /// records were of an earlier boot.
    pub(crate) fn keep(&mut self, clock: &Clock) {
        let Some(boot) = self.boot else { return };
        // Notices a clock that was set.
        clock.ages();
        let ages = clock.age_clock();
        if self.written.as_ref().is_some_and(|written| written.is_like(&ages)) {
            return;
        }
        let content = Content { boot, ages: ages.clone() };
        let json = serde_json::to_vec(&content).expect("numbers and text are JSON");
        match files::replace(&self.dir, FILE, &json) {
            Ok(()) => self.written = Some(ages),
            Err(error) => tracing::debug!(%error, "cannot save what is known of the clock"),
        }
    }
}
