//! `trunkline dead-letters`: what could not be delivered, and what to do about it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use serde_json::{Value, json};

use crate::admin::{FieldValue, Filter, Letter, LetterOutcome, LettersRequest, LettersSummary};
use crate::clock::Clock;

use super::args::{FilterArgs, LettersCommand, SelectionArgs};
use super::escape::{escaped, escaped_json};
use super::exit::Exit;
use super::format::thousands;
use super::locate::{Where, explained};
use super::output::{complain, is_read, say};
use super::runtime::async_runtime;

/// Runs a subcommand.
pub(super) fn run(at: Where<'_>, command: LettersCommand) -> anyhow::Result<Exit> {
    match command {
        LettersCommand::List { filter, group: true, .. } => group(at, &chosen(filter)),
        LettersCommand::List { filter, json, .. } => list(at, &chosen(filter), json),
        LettersCommand::Show { id } => show(at, id),
        LettersCommand::Export { filter } => export(at, &chosen(filter)),
        LettersCommand::Replay { selection, set } => pass(at, "replay", selection, set),
        LettersCommand::Discard { selection } => pass(at, "discard", selection, Vec::new()),
    }
}

fn chosen(args: FilterArgs) -> Filter {
    let now_ms = Clock::system().unix_ms();
    Filter {
        lane: args.lane.map(|lane| lane.name().to_owned()),
        array: args.array,
        reason: args.reason,
        id: args.id,
        message: args.message,
        since_ms: args.since.map(|since| since.at_ms(now_ms)),
        before_ms: args.before.map(|before| before.at_ms(now_ms)),
        limit: args.limit,
    }
}

/// Every letter that the filter takes, until `each` says that nobody reads on. `false` if it did.
fn each(
    at: Where<'_>,
    filter: &Filter,
    with_events: bool,
    mut each: impl FnMut(Letter) -> anyhow::Result<bool>,
) -> anyhow::Result<bool> {
    let client = at.client()?;
    let mut wanted = serde_json::to_value(filter)?;
    wanted["with_events"] = json!(with_events);
    let mut last = Ok(true);
    let mut take = |line: &[u8]| {
        last = match serde_json::from_slice::<Letter>(line) {
            Ok(letter) => each(letter),
            Err(_) => Err(anyhow::anyhow!("{}", said(line))),
        };
        matches!(last, Ok(true))
    };
    async_runtime()?.block_on(client.lines("/dead-letters/list", &wanted, &mut take)).map_err(explained)?;
    last
}

/// The words of an ErrorBody that ends an answer.
fn said(line: &[u8]) -> String {
    let body: Value = serde_json::from_slice(line).unwrap_or_default();
    body["message"].as_str().unwrap_or("cannot parse the daemon's answer").to_owned()
}

fn list(at: Where<'_>, filter: &Filter, as_json: bool) -> anyhow::Result<Exit> {
    let mut count: u64 = 0;
    let mut out = std::io::stdout().lock();
    let is_whole = each(at, filter, false, |letter| {
        count += 1;
        let text = if as_json {
            let before = if count == 1 { "[\n" } else { ",\n" };
            format!("{before}{}", escaped_json(&serde_json::to_string(&letter)?))
        } else {
            line(&letter) + "\n"
        };
        Ok(is_read(out.write_all(text.as_bytes()))?)
    })?;
    if !is_whole {
        return Ok(Exit::Done);
    }
    if as_json {
        is_read(writeln!(out, "{}", if count == 0 { "[]" } else { "\n]" }))?;
    } else {
        complain(&format!("{} listed", letters(count)));
    }
    Ok(Exit::Done)
}

fn line(letter: &Letter) -> String {
    let status = letter.status.map_or("-".to_owned(), |status| status.to_string());
    format!(
        "{}  {}  {:<13}  {} {}\n    {}\n    correlation {}  attempts {}  accepted {} by {}",
        letter.died_at,
        letter.event_id,
        letter.reason,
        letter.array,
        status,
        escaped(&letter.message),
        escaped(letter.correlation_id.as_deref().unwrap_or("-")),
        letter.attempts,
        letter.accepted_at,
        letter.door
    )
}

fn letters(count: u64) -> String {
    crate::admin::count(count, "dead letter")
}

fn group(at: Where<'_>, filter: &Filter) -> anyhow::Result<Exit> {
    let mut groups: BTreeMap<(String, String, String), (u64, String)> = BTreeMap::new();
    each(at, filter, false, |letter| {
        let key = (letter.reason, letter.array, without_values(&letter.message));
        groups.entry(key).or_insert((0, letter.event_id)).0 += 1;
        Ok(true)
    })?;
    let mut rows: Vec<_> = groups.into_iter().collect();
    rows.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    let mut text = String::new();
    for ((reason, array, message), (count, example)) in &rows {
        let _ = writeln!(
            text,
            "{:>9}  {reason:<13}  {array}\n           {message}\n           e.g. {example}",
            thousands(*count),
            message = escaped(message),
        );
    }
    let total = rows.iter().map(|(_, (count, _))| count).sum();
    say(&text)?;
    complain(&format!("{} in {}", letters(total), crate::admin::count(rows.len() as u64, "group")));
    Ok(Exit::Done)
}

/// Messages that differ only in ids and numbers are one group.
fn without_values(message: &str) -> String {
    let is_value = |word: &str| {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        uuid::Uuid::try_parse(bare).is_ok()
            || (!bare.is_empty() && bare.bytes().any(|byte| byte.is_ascii_digit()))
    };
    let words = message.split_whitespace().map(|word| if is_value(word) { "…" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

fn show(at: Where<'_>, id: String) -> anyhow::Result<Exit> {
    let mut count: u64 = 0;
    let mut out = std::io::stdout().lock();
    let filter = Filter { id: Some(id), ..Filter::default() };
    each(at, &filter, true, |letter| {
        count += 1;
        Ok(is_read(writeln!(out, "{}", escaped_json(&serde_json::to_string_pretty(&letter)?)))?)
    })?;
    if count == 0 {
        complain("trunkline: no dead letter has this id; `trunkline trace ID` shows what happened to it");
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}

fn export(at: Where<'_>, filter: &Filter) -> anyhow::Result<Exit> {
    let client = at.client()?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut count: u64 = 0;
    let mut last = Ok(true);
    let take = |line: &[u8]| {
        last = if line.starts_with(b"{\"message\":") {
            Err(anyhow::anyhow!("{}", said(line)))
        } else {
            count += 1;
            let written = out.write_all(line).and_then(|()| out.write_all(b"\n"));
            is_read(written).map_err(anyhow::Error::from)
        };
        matches!(last, Ok(true))
    };
    async_runtime()?.block_on(client.lines("/dead-letters/export", filter, take)).map_err(explained)?;
    if is_read(out.flush())? && !matches!(last, Ok(false)) {
        complain(&format!("{} exported", letters(count)));
    }
    last.map(|_| Exit::Done)
}

/// Replays or discards, and says what was done line by line.
fn pass(at: Where<'_>, what: &str, selection: SelectionArgs, set: Vec<FieldValue>) -> anyhow::Result<Exit> {
    let SelectionArgs { filter, only_where, all, dry_run } = selection;
    let request = LettersRequest { filter: chosen(filter), set, only_where, dry_run };
    if request.filter.is_everything() && request.only_where.is_empty() && !all {
        complain(&format!(
            "trunkline: name the dead letters to {what}, or use --all; --dry-run shows what would be done"
        ));
        return Ok(Exit::Usage);
    }
    let client = at.client()?;
    let mut summary = None;
    let mut out = std::io::stdout().lock();
    let mut fault = None;
    // What the operator asked for is done to its end, also when the report of it cannot be written.
    let take = |line: &[u8]| {
        if let Ok(told) = serde_json::from_slice::<LetterOutcome>(line) {
            let message = told.message.map_or(String::new(), |message| format!(": {}", escaped(&message)));
            let written = writeln!(out, "{} {}{message}", told.event_id, told.done.replace('_', " "));
            fault = fault.take().or(is_read(written).err());
            return true;
        }
        summary = serde_json::from_slice::<LettersSummary>(line).ok();
        true
    };
    let path = format!("/dead-letters/{what}");
    async_runtime()?.block_on(client.lines(&path, &request, take)).map_err(explained)?;
    let Some(summary) = summary else {
        anyhow::bail!(
            "the daemon stopped before everything was done; run the same command again to continue"
        );
    };
    let would = if request.dry_run { " would be done" } else { " done" };
    let mut text = format!("{}{would}", letters(summary.done));
    if summary.refused > 0 {
        let _ = write!(text, ", {} refused and kept", thousands(summary.refused));
    }
    if summary.passed_over > 0 {
        let _ = write!(text, ", {} were already gone", thousands(summary.passed_over));
    }
    if let Some(why) = &summary.stopped {
        let _ = write!(text, "; stopped: {why}. Run the same command again to continue");
    }
    complain(&text);
    if let Some(error) = fault {
        return Err(error.into());
    }
    Ok(if summary.refused > 0 || summary.stopped.is_some() { Exit::Failed } else { Exit::Done })
}

#[cfg(test)]
mod tests {
    use super::without_values;

    #[test]
    fn messages_that_differ_in_ids_are_one_group() {
        let message = "conversation 7d1c1f0e-54c5-4c0e-9f3c-1f1a7f0c9d11 not found, tried 3 times";

        assert_eq!(without_values(message), "conversation … not found, tried … times");
    }
}
