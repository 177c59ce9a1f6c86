//! The map's file: CSV or TOML, by its extension.
//!
//! ```csv
//! kind,name,id
//! user,1042,6f1c…
//! queue,"Support, German",0b7e…
//! ```
//! ```toml
//! [user]
//! "1042" = "6f1c…"
//! ```
//! CSV is read line by line. TOML is parsed as a whole, for which the parser takes ten times the file's size: it is for
//! maps written by hand, and bounded accordingly.

use std::fmt::{self, Display};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, StringRecord};
use toml::de::{DeTable, DeValue};
use uuid::Uuid;

use super::map::{IdMap, IdMapBuilder, MAX_ENTRIES, NameKind, NameRefused};

/// Longest CSV file: a full map with quotes and ids.
const MAX_CSV_BYTES: u64 = 32 * 1024 * 1024;
/// Longest TOML file.
const MAX_TOML_BYTES: u64 = 2 * 1024 * 1024;
/// Faults that are reported of one file.
const MAX_FAULTS: usize = 5;
/// Columns of a CSV file.
const COLUMNS: [&str; 3] = ["kind", "name", "id"];
const NOT_UTF8: &str = "is not UTF-8; save the file as UTF-8";
const BOM: &str = "\u{feff}";

/// Why a file is not a map. What it says holds no name: it may be logged.
#[derive(Debug, thiserror::Error)]
#[error("ids.file {}: {}", .path.display(), .why)]
pub struct MapError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: MapProblem,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum MapProblem {
    /// It ends neither in `.csv` nor in `.toml`.
    #[error("its name must end in .csv or .toml")]
    Extension,
    /// The disk's or the system's word.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Over its bound.
    #[error("has {found} bytes; at most {max} are allowed{advice}")]
    TooLong {
        /// Bytes.
        found: u64,
        /// Bytes.
        max: u64,
        /// What to do, or nothing.
        advice: &'static str,
    },
    /// Another encoding.
    #[error("is UTF-16; save it as UTF-8")]
    Utf16,
    /// No TOML.
    #[error("is not TOML: {0}")]
    Toml(String),
    /// The first line of a CSV file is another.
    #[error("line 1: the columns must be kind,name,id; {0} is missing")]
    Columns(&'static str),
    /// Entries that are wrong, with their lines.
    #[error("{}", FaultList(.0, *.1))]
    Entries(Vec<MapFault>, usize),
}

/// One entry that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapFault {
    /// Line of the file, from 1.
    pub line: u64,
    /// What is wrong and what is allowed.
    pub why: String,
}

struct FaultList<'a>(&'a [MapFault], usize);

impl Display for FaultList<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, fault) in self.0.iter().enumerate() {
            let gap = if nth == 0 { "" } else { "; " };
            write!(out, "{gap}line {}: {}", fault.line, fault.why)?;
        }
        match self.1.saturating_sub(self.0.len()) {
            0 => Ok(()),
            more => write!(out, "; and {more} more"),
        }
    }
}

/// Reads a map. Blocks.
///
/// # Errors
/// If the file cannot be read, or any entry of it is wrong: then nothing of it is taken.
pub fn read(path: &Path) -> Result<IdMap, MapError> {
    let taken = match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => open(path, MAX_CSV_BYTES, "").and_then(from_csv),
        Some("toml") => open(path, MAX_TOML_BYTES, "; write a larger map as CSV").and_then(from_toml),
        _ => Err(MapProblem::Extension),
    };
    taken.map_err(|why| MapError { path: path.to_path_buf(), why })
}

fn open(path: &Path, max: u64, advice: &'static str) -> Result<impl Read, MapProblem> {
    let file = std::fs::File::open(path)?;
    let found = file.metadata()?.len();
    if found > max {
        return Err(MapProblem::TooLong { found, max, advice });
    }
    let mut mark = [0; 2];
    // A pipe has no places to read at; what is wrong with it is found when it is read.
    let _ = file.read_at(&mut mark, 0);
    if matches!(mark, [0xff, 0xfe] | [0xfe, 0xff]) {
        return Err(MapProblem::Utf16);
    }
    // A file that grows meanwhile ends at its bound all the same.
    Ok(file.take(max))
}

/// Takes entries and remembers those that are wrong.
#[derive(Default)]
struct MapIntake {
    builder: IdMapBuilder,
    /// Line of each entry that was taken.
    lines: Vec<u32>,
    faults: Vec<MapFault>,
    total: usize,
}

impl MapIntake {
    fn fault(&mut self, line: u64, why: impl Into<String>) {
        self.total += 1;
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(MapFault { line, why: why.into() });
        }
    }

    /// One entry. `false`: the map is full, and what follows need not be read.
    fn entry(&mut self, line: u64, kind: &str, name: &str, id: &str) -> bool {
        let Some(kind) = NameKind::of_word(kind.trim()) else {
            self.fault(line, format!("the kind must be one of {}", words()));
            return true;
        };
        let Ok(id) = Uuid::try_parse(id.trim()) else {
            self.fault(line, "the id must be a UUID");
            return true;
        };
        match self.builder.add(kind, name.trim(), id) {
            Ok(()) => self.lines.push(u32::try_from(line).unwrap_or(u32::MAX)),
            Err(refused) => {
                self.fault(line, refused.to_string());
                return !matches!(refused, NameRefused::TooMany | NameRefused::TooLarge);
            }
        }
        true
    }

    fn finish(mut self) -> Result<IdMap, MapProblem> {
        if self.total == 0 {
            match self.builder.finish() {
                Ok(map) => return Ok(map),
                Err(two) => {
                    let (first, second) = (self.lines[two.first], self.lines[two.second]);
                    let why = format!(
                        "this {} has another id in line {first}; a name must mean one id",
                        two.kind.word()
                    );
                    self.faults = vec![MapFault { line: second.into(), why }];
                    self.total = 1;
                }
            }
        }
        Err(MapProblem::Entries(self.faults, self.total))
    }
}

fn words() -> String {
    NameKind::ALL.map(NameKind::word).join(", ")
}

fn from_csv(file: impl Read) -> Result<IdMap, MapProblem> {
    // The first line says which of the two a spreadsheet wrote.
    let mut file = io::BufReader::new(file);
    let head = String::from_utf8_lossy(io::BufRead::fill_buf(&mut file)?).into_owned();
    let first = head.lines().next().unwrap_or_default();
    let delimiter = if first.contains(';') && !first.contains(',') { b';' } else { b',' };
    let mut rows = ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(file);
    let headers = rows.headers().map_err(why_of)?.clone();
    let is_column =
        |header: &str, column: &str| header.trim_start_matches(BOM).trim().eq_ignore_ascii_case(column);
    let mut columns = [0; 3];
    for (at, column) in COLUMNS.into_iter().enumerate() {
        let found = headers.iter().position(|header| is_column(header, column));
        columns[at] = found.ok_or(MapProblem::Columns(column))?;
    }
    let mut taking = MapIntake::default();
    let mut row = StringRecord::new();
    loop {
        match rows.read_record(&mut row) {
            Ok(false) => break,
            Ok(true) => {}
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                match error.into_kind() {
                    csv::ErrorKind::Io(error) => return Err(MapProblem::Io(error)),
                    csv::ErrorKind::Utf8 { .. } => taking.fault(line, NOT_UTF8),
                    _ => taking.fault(line, "is not CSV"),
                }
                continue;
            }
        }
        let line = row.position().map_or(0, csv::Position::line);
        let [Some(kind), Some(name), Some(id)] = columns.map(|at| row.get(at)) else {
            taking.fault(line, "has fewer columns than the first line");
            continue;
        };
        if !taking.entry(line, kind, name, id) {
            break;
        }
    }
    taking.finish()
}

fn why_of(error: csv::Error) -> MapProblem {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => MapProblem::Io(error),
        // The first line: of the others it is said where they are read.
        _ => MapProblem::Entries(vec![MapFault { line: 1, why: NOT_UTF8.to_owned() }], 1),
    }
}

fn from_toml(mut file: impl Read) -> Result<IdMap, MapProblem> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let text = text.strip_prefix(BOM).unwrap_or(&text);
    let line_of = |at: usize| {
        1 + text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() as u64
    };
    let document = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(0, |span| line_of(span.start));
        // The parser's own text may quote the line.
        MapProblem::Toml(format!("line {line}: {}", error.message()))
    })?;
    let mut taking = MapIntake::default();
    for (kind, names) in document.get_ref() {
        let DeValue::Table(names) = names.get_ref() else {
            let why = format!("must be a table: [user], [queue] and so on, of {}", words());
            taking.fault(line_of(kind.span().start), why);
            continue;
        };
        for (name, id) in names {
            let line = line_of(name.span().start);
            let DeValue::String(id) = id.get_ref() else {
                taking.fault(line, "the id must be a UUID as a string");
                continue;
            };
            if !taking.entry(line, kind.get_ref(), name.get_ref(), id) {
                break;
            }
        }
    }
    taking.finish()
}

const _: () = assert!(MAX_ENTRIES as u64 * 64 <= MAX_CSV_BYTES, "a full map of short names fits the file");

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "6f1c0b7e-0000-4000-8000-000000000001";
    const OTHER: &str = "6f1c0b7e-0000-4000-8000-000000000002";

    fn said(read: Result<IdMap, MapProblem>) -> String {
        read.unwrap_err().to_string()
    }

    fn csv(text: &str) -> Result<IdMap, MapProblem> {
        from_csv(text.as_bytes())
    }

    fn toml(text: &str) -> Result<IdMap, MapProblem> {
        from_toml(text.as_bytes())
    }

    #[test]
    fn both_forms_give_the_same_map() {
        let wanted = Some(Uuid::try_parse(ID).unwrap());

        for read in [
            csv(&format!("kind,name,id\nuser,\"Müller, \"\"Jo\"\"\",{ID}\n")),
            csv(&format!("\u{feff}Name;ID;Kind\r\n\"Müller, \"\"Jo\"\"\";{ID};user\r\n")),
            toml(&format!("[user]\n'Müller, \"Jo\"' = \"{ID}\"\n")),
            toml(&format!("\u{feff}user.'Müller, \"Jo\"' = \"{ID}\"\n")),
        ] {
            assert_eq!(read.unwrap().find(NameKind::User, "Müller, \"Jo\""), wanted);
        }
    }

    #[test]
    fn faults_name_their_lines_and_no_names() {
        let read = csv(&format!("kind,name,id\nagent,Jo,{ID}\nuser,Jo,4915112345678\nuser,,{ID}\nuser,Jo\n"));

        let said = said(read);
        assert!(
            said.contains("line 2: the kind must be one of user, queue, wrapup, presence, source"),
            "{said}"
        );
        assert!(said.contains("line 3: the id must be a UUID"), "{said}");
        assert!(said.contains("line 4: the name is empty"), "{said}");
        assert!(said.contains("line 5: has fewer columns"), "{said}");
        assert!(!said.contains("Jo") && !said.contains("4915112345678"), "{said}");
    }

    #[test]
    fn a_name_with_two_ids_is_refused_with_both_lines() {
        let in_csv = said(csv(&format!("kind,name,id\nuser,Jo,{ID}\nqueue,Jo,{ID}\nuser,Jo,{OTHER}\n")));
        assert_eq!(in_csv, "line 4: this user has another id in line 2; a name must mean one id");

        let in_toml = said(toml(&format!("[user]\n\" Jo\" = \"{ID}\"\nJo = \"{OTHER}\"\n")));
        assert!(in_toml.contains("a name must mean one id"), "{in_toml}");
    }

    #[test]
    fn what_is_no_map_is_told_so() {
        assert_eq!(said(csv("name,uuid\n")), "line 1: the columns must be kind,name,id; kind is missing");
        assert!(said(csv("")).contains("kind is missing"));
        assert!(said(toml("[user\n")).starts_with("is not TOML: line 1"));
        assert!(said(toml(&format!("user = \"{ID}\"\n"))).contains("line 1: must be a table"));
        assert!(said(toml("[user]\nJo = 7\n")).contains("line 2: the id must be a UUID"));
        let latin1 = from_csv(&b"kind,name,id\nuser,M\xfcller,6f1c0b7e-0000-4000-8000-000000000001\n"[..]);
        assert!(said(latin1).contains("line 2: is not UTF-8"));
        assert_eq!(said(from_csv(&b"kind,n\xe4me,id\n"[..])), "line 1: is not UTF-8; save the file as UTF-8");
        assert!(read(Path::new("map.txt")).unwrap_err().to_string().contains(".csv or .toml"));
    }
}
