//! `trunkline top`: the status live, with sparklines. Readable on 80×24 and without colour.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::time::Duration;

use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Paragraph, Sparkline};

use crate::admin::Report;
use crate::admin::client::AdminClient;
use crate::event::Lane;

use super::escape::escaped;
use super::exit::Exit;
use super::format::span;
use super::locate::{Where, explained};
use super::output::complain;
use super::runtime::async_runtime;
use super::status::{Fact, facts};

/// Points kept for a sparkline: a wide terminal.
const POINTS: usize = 200;

/// Shows until `q`.
pub(super) fn run(at: Where<'_>, interval: Duration) -> anyhow::Result<Exit> {
    if !(std::io::stdout().is_terminal() && std::io::stdin().is_terminal()) {
        complain("trunkline: top needs a terminal; use `trunkline status` instead");
        return Ok(Exit::Usage);
    }
    let client = at.client()?;
    let runtime = async_runtime()?;
    // The first look is before the screen is taken: a fault is reported as by any other command.
    let first: Report = runtime.block_on(client.get("/status")).map_err(explained)?;
    let mut view = TopView::new(first, std::env::var_os("NO_COLOR").is_none());
    let mut terminal = ratatui::try_init()?;
    let shown = (|| -> anyhow::Result<()> {
        loop {
            terminal.draw(|frame| view.draw(frame))?;
            if !wait_for_key(interval)? {
                return Ok(());
            }
            view.look(runtime.block_on(ask(&client)));
        }
    })();
    ratatui::try_restore()?;
    shown.map(|()| Exit::Done)
}

async fn ask(client: &AdminClient) -> Result<Report, String> {
    client.get("/status").await.map_err(|error| explained(error).to_string())
}

/// Waits for `interval`; `false` if the user wants to leave.
fn wait_for_key(interval: Duration) -> std::io::Result<bool> {
    if !event::poll(interval)? {
        return Ok(true);
    }
    Ok(match event::read()? {
        Event::Key(key) => {
            let is_interrupt =
                key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            !(is_interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
        }
        _ => true,
    })
}

/// What was seen so far.
struct TopView {
    report: Report,
    fault: Option<String>,
    has_colour: bool,
    accepted: Points,
    delivered: Points,
    age: Points,
    fill: Points,
}

#[derive(Default)]
struct Points(VecDeque<u64>);

impl Points {
    fn push(&mut self, value: u64) {
        if self.0.len() >= POINTS {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// The newest that fit, the newest at the right.
    fn newest(&self, width: u16) -> Vec<u64> {
        let width = usize::from(width);
        let mut shown = vec![0; width.saturating_sub(self.0.len())];
        shown.extend(self.0.iter().skip(self.0.len().saturating_sub(width)));
        shown
    }

    fn last(&self) -> u64 {
        self.0.back().copied().unwrap_or_default()
    }
}

impl TopView {
    fn new(report: Report, has_colour: bool) -> Self {
        Self {
            report,
            fault: None,
            has_colour,
            accepted: Points::default(),
            delivered: Points::default(),
            age: Points::default(),
            fill: Points::default(),
        }
    }

    fn look(&mut self, seen: Result<Report, String>) {
        let now = match seen {
            Ok(now) => now,
            Err(fault) => return self.fault = Some(fault),
        };
        self.fault = None;
        let before = std::mem::replace(&mut self.report, now);
        let now = &self.report;
        let seconds = (now.now_ms.saturating_sub(before.now_ms).max(1)) as f64 / 1000.0;
        let rate = |now: u64, before: u64| (now.saturating_sub(before) as f64 / seconds).round() as u64;
        self.accepted.push(rate(now.accepted_total, before.accepted_total));
        self.delivered.push(rate(now.delivered_total, before.delivered_total));
        self.age.push(now.oldest_seconds.unwrap_or(0));
        let requests = now.requests_total.saturating_sub(before.requests_total);
        let sent = now.events_in_requests_total.saturating_sub(before.events_in_requests_total);
        self.fill.push(sent.checked_div(requests).unwrap_or(0));
    }

    fn style(&self, colour: Color) -> Style {
        if self.has_colour { Style::default().fg(colour) } else { Style::default() }
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let words = u16::try_from(self.report.words.len().clamp(1, 4)).unwrap_or(1);
        let areas = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(words),
            Constraint::Length(6),
            Constraint::Length(8),
            Constraint::Min(1),
        ])
        .split(frame.area());
        self.draw_title(frame, areas[0]);
        self.draw_words(frame, areas[1]);
        self.draw_lanes(frame, areas[2]);
        self.draw_sparklines(frame, areas[3]);
        self.draw_facts(frame, areas[4]);
    }

    fn draw_title(&self, frame: &mut Frame<'_>, area: Rect) {
        let report = &self.report;
        let title = match &self.fault {
            Some(fault) => format!("no answer: {}", escaped(fault)),
            None => format!(
                "trunkline {}  {}  up {}  (q quits)",
                report.version,
                escaped(&report.api_host),
                span(report.uptime_seconds)
            ),
        };
        frame.render_widget(
            Paragraph::new(title).style(Style::default().add_modifier(Modifier::REVERSED)),
            area,
        );
    }

    fn draw_words(&self, frame: &mut Frame<'_>, area: Rect) {
        let colour = if self.report.healthy { Color::Green } else { Color::Red };
        let style = self.style(colour).add_modifier(Modifier::BOLD);
        let lines: Vec<Line<'_>> =
            self.report.words.iter().map(|word| Line::styled(escaped(word), style)).collect();
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn draw_lanes(&self, frame: &mut Frame<'_>, area: Rect) {
        let head = format!(
            "{:<14} {:<13} {:>9} {:>9} {:>9} {:>6} {:>9}",
            "lane", "state", "queued", "oldest", "in flight", "status", "next try"
        );
        let mut lines = vec![Line::styled(head, Style::default().add_modifier(Modifier::UNDERLINED))];
        for lane in Lane::ALL {
            let Some(found) = self.report.lanes.get(lane.name()) else { continue };
            let dash = || "-".to_owned();
            let text = format!(
                "{:<14} {:<13} {:>9} {:>9} {:>9} {:>6} {:>9}",
                lane.name(),
                found.state,
                found.queue_events,
                found.oldest_seconds.map_or_else(dash, span),
                found.in_flight,
                found.last_status.map_or_else(dash, |status| status.to_string()),
                found.next_attempt_seconds.map_or_else(dash, span),
            );
            let style = if found.state == "running" { Style::default() } else { self.style(Color::Yellow) };
            lines.push(Line::styled(text, style));
        }
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn draw_sparklines(&self, frame: &mut Frame<'_>, area: Rect) {
        let rows = Layout::vertical([Constraint::Ratio(1, 2); 2]).split(area);
        let cells: Vec<Rect> = rows
            .iter()
            .flat_map(|row| Layout::horizontal([Constraint::Ratio(1, 2); 2]).split(*row).to_vec())
            .collect();
        let lines = [
            (format!("accepted {}/s", self.accepted.last()), &self.accepted, Color::Cyan),
            (format!("delivered {}/s", self.delivered.last()), &self.delivered, Color::Green),
            (format!("oldest {}", span(self.age.last())), &self.age, Color::Yellow),
            (format!("events a request {}", self.fill.last()), &self.fill, Color::Magenta),
        ];
        for ((title, points, colour), cell) in lines.into_iter().zip(cells) {
            let block = Block::default().borders(Borders::TOP).title(title);
            let width = block.inner(cell).width;
            let line = Sparkline::default().data(points.newest(width)).style(self.style(colour)).block(block);
            frame.render_widget(line, cell);
        }
    }

    fn draw_facts(&self, frame: &mut Frame<'_>, area: Rect) {
        let report = &self.report;
        let wanted = ["queue", "disk", "dead letters", "token", "clock"];
        let mut lines: Vec<Line<'_>> = facts(report)
            .into_iter()
            .filter(|fact| wanted.contains(&fact.name))
            .map(|Fact { name, value }| Line::raw(format!("{name:<13} {}", escaped(&value))))
            .collect();
        let budget = format!("{:<13} {:.0} requests a minute", "budget", report.rate_budget);
        lines.insert(0, Line::raw(budget));
        frame.render_widget(Paragraph::new(lines), area);
    }
}
