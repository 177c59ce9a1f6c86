//! `trunkline queue verify|export` and `adopt`: a stopped daemon's directory.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use bytes::Bytes;

use crate::clock::Clock;
use crate::config::{self, Need};
use crate::daemon;
use crate::event::{Lane, one_line};
use crate::queue::{self, Inspection};

use super::args::ExportArgs;
use super::locate::contact;
use super::{Exit, complain, is_read, say};

/// The directory that was named, else the configuration's.
fn directory(dir: Option<PathBuf>, config: Option<&Path>) -> anyhow::Result<PathBuf> {
    match dir {
        Some(dir) => Ok(dir),
        None => Ok(contact(config, &[Need::QueueDir])?.queue_dir),
    }
}

/// Reads every chunk and says what is there; [`Exit::Storage`] on damage.
pub(super) fn verify(dir: Option<PathBuf>, config: Option<&Path>) -> anyhow::Result<Exit> {
    let dir = directory(dir, config)?;
    let found = Inspection::of(&dir)?;
    let mut text = format!(
        "{:<14} {:>9} {:>9} {:>11} {:>11} {:>14}\n",
        "", "segments", "chunks", "records", "unsettled", "bytes on disk"
    );
    for row in found.reports() {
        let unsettled = if row.name == "ledger" { "-".to_owned() } else { row.unsettled.to_string() };
        let _ = writeln!(
            text,
            "{:<14} {:>9} {:>9} {:>11} {unsettled:>11} {:>14}",
            row.name, row.segments, row.chunks, row.records, row.bytes
        );
    }
    for fault in found.faults() {
        let _ = writeln!(text, "damaged: {fault}");
    }
    if found.faults().is_empty() {
        let _ = writeln!(text, "{}: every chunk is intact", dir.display());
        return say(&text);
    }
    let _ = writeln!(
        text,
        "{}: {} damaged parts. The daemon still starts, delivers everything intact and quarantines the rest",
        dir.display(),
        found.faults().len()
    );
    say(&text)?;
    Ok(Exit::Storage)
}

/// Writes unsettled events, or dead letters, as lines that `send` takes.
pub(super) fn export(args: ExportArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let found = Inspection::of(&directory(args.dir, config)?)?;
    for fault in found.faults() {
        complain(&format!("damaged: {fault}"));
    }
    let since_ms = args.since.map_or(i64::MIN, |since| since.at_ms(Clock::system().unix_ms()));
    let lanes: Vec<Lane> = args.lane.map_or(Lane::ALL.to_vec(), |lane| vec![lane]);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut count = 0_u64;
    let written = if args.dead {
        found.dead_letters(|letter| {
            let event = &letter.stored.event;
            if lanes.contains(&event.lane) && letter.died_at_ms >= since_ms {
                count += 1;
                return write_line(&mut out, event.array.name(), &event.body);
            }
            Ok(())
        })
    } else {
        lanes.iter().try_for_each(|lane| {
            found.events(*lane, |stored| {
                if stored.event.accepted_at_ms < since_ms {
                    return Ok(());
                }
                count += 1;
                write_line(&mut out, stored.event.array.name(), &stored.event.body)
            })
        })
    }
    .and_then(|()| out.flush());
    if is_read(written).context("cannot write the export")? {
        complain(&format!("{count} exported"));
    }
    Ok(if found.faults().is_empty() { Exit::Done } else { Exit::Storage })
}

fn write_line(out: &mut impl Write, array: &str, body: &Bytes) -> io::Result<()> {
    write!(out, "{{\"{array}\":[")?;
    out.write_all(&one_line(body))?;
    out.write_all(b"]}\n")
}

/// Lets what is queued leave for the account that the configuration names now.
pub(super) fn adopt(config: Option<&Path>) -> anyhow::Result<Exit> {
    let loaded = config::load(config)?.config;
    let owner = daemon::owner(&loaded.upstream);
    let before = queue::adopt(&loaded.queue.dir, &owner)?;
    let dir = loaded.queue.dir.display();
    match before {
        Some(before) if before != owner => say(&format!("{dir} now belongs to {owner}; before: {before}\n")),
        _ => say(&format!("{dir} belongs to {owner}\n")),
    }
}
