//! Lanes that an operator paused, remembered over a restart: names of lanes in `queue.dir/paused`.

use std::io;
use std::path::Path;

use crate::event::Lane;
use crate::files;

const FILE: &str = "paused";

/// Lanes that are paused, by lane index. What cannot be understood is reported and pauses the lane: that was meant.
///
/// # Errors
/// If the file is there and cannot be read.
pub fn read(dir: &Path) -> io::Result<[bool; Lane::ALL.len()]> {
    let mut paused = [false; Lane::ALL.len()];
    let text = match std::fs::read_to_string(dir.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(paused),
        Err(error) => return Err(error),
    };
    for name in text.split_whitespace() {
        match Lane::from_name(name) {
            Some(lane) => paused[lane.index()] = true,
            None => {
                tracing::warn!(name, "{FILE} in queue.dir: unknown lane; all lanes are paused");
                return Ok([true; Lane::ALL.len()]);
            }
        }
    }
    Ok(paused)
}

/// Writes it whole and durable.
///
/// # Errors
/// If the file cannot be written.
pub fn write(dir: &Path, paused: &[bool; Lane::ALL.len()]) -> io::Result<()> {
    let names = Lane::ALL.into_iter().filter(|lane| paused[lane.index()]);
    let text: String = names.map(|lane| format!("{lane}\n")).collect();
    files::replace(dir, FILE, text.as_bytes())
}
