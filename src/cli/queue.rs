//! `trunkline queue verify|export|restore` and `adopt`: a stopped daemon's directory.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use bytes::Bytes;

use crate::clock::Clock;
use crate::config::{self, Need};
use crate::daemon;
use crate::event::{Lane, one_line};
use crate::queue::{self, Inspection, RestoreOutcome, RestoredPart};

use super::args::ExportArgs;
use super::exit::Exit;
use super::locate::contact;
use super::output::{complain, is_read, say};

/// The directory that was named, else the configuration's.
fn directory(dir: Option<PathBuf>, config: Option<&Path>) -> anyhow::Result<PathBuf> {
    match dir {
        Some(dir) => Ok(dir),
        None => Ok(contact(config, &[Need::QueueDir])?.queue_dir),
    }
}

/// Reads every chunk and says what is there; [`Exit::Storage`] on damage, and if something cannot be read.
pub(super) fn verify(dir: Option<PathBuf>, config: Option<&Path>) -> anyhow::Result<Exit> {
    let dir = directory(dir, config)?;
    let found = Inspection::of(&dir)?;
    let mut text = format!(
        "{:<14} {:>9} {:>9} {:>11} {:>11} {:>14}\n",
        "", "segments", "chunks", "records", "unsettled", "bytes on disk"
    );
    for log in found.reports() {
        let unsettled = if log.name == "ledger" { "-".to_owned() } else { log.unsettled.to_string() };
        let _ = writeln!(
            text,
            "{:<14} {:>9} {:>9} {:>11} {unsettled:>11} {:>14}",
            log.name, log.segments, log.chunks, log.records, log.bytes
        );
    }
    for fault in faults(&found) {
        let _ = writeln!(text, "{fault}");
    }
    if is_whole(&found) {
        let _ = writeln!(text, "{}: every chunk is intact", dir.display());
        return say(&text);
    }
    let _ = writeln!(
        text,
        "{}: {} damaged parts, {} that cannot be read. The daemon delivers everything intact, quarantines what is \
         damaged and keeps trying to read the rest",
        dir.display(),
        found.damaged().len(),
        found.unread().len()
    );
    say(&text)?;
    Ok(Exit::Storage)
}

/// Writes unsettled events, or dead letters, as lines that `send` takes.
pub(super) fn export(args: ExportArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let found = Inspection::of(&directory(args.dir, config)?)?;
    faults(&found).for_each(|fault| complain(&fault));
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
    Ok(if is_whole(&found) { Exit::Done } else { Exit::Storage })
}

fn is_whole(found: &Inspection) -> bool {
    found.damaged().is_empty() && found.unread().is_empty()
}

/// What is wrong, a line each.
fn faults(found: &Inspection) -> impl Iterator<Item = String> {
    let damaged = found.damaged().iter().map(|fault| format!("damaged: {fault}"));
    damaged.chain(found.unread().iter().map(|fault| format!("cannot be read: {fault}")))
}

/// Brings back from the quarantine what can be read again; [`Exit::Failed`] if something still cannot.
pub(super) fn restore(dir: Option<PathBuf>, config: Option<&Path>) -> anyhow::Result<Exit> {
    let dir = directory(dir, config)?;
    let parts = queue::restore(&dir)?;
    let mut text = String::new();
    for RestoredPart { part, outcome } in &parts {
        let part = part.display();
        let _ = match outcome {
            RestoreOutcome::Restored { records } => writeln!(text, "restored: {part}: {records} records"),
            RestoreOutcome::Unread(fault) => writeln!(text, "cannot be read: {part}: {fault}"),
            RestoreOutcome::Nothing(why) => writeln!(text, "stays: {part}: {why}"),
        };
    }
    if parts.is_empty() {
        let _ = writeln!(text, "{}: nothing in quarantine", dir.display());
    }
    say(&text)?;
    let is_unread = |part: &RestoredPart| matches!(part.outcome, RestoreOutcome::Unread(_));
    Ok(if parts.iter().any(is_unread) { Exit::Failed } else { Exit::Done })
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
