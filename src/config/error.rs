//! Why there is no configuration: all faults at once, so that the operator can fix them in one go.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The code.
    Default,
    /// A file.
    File(PathBuf),
    /// A variable of the environment.
    Env(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Env(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// Dotted name of the key.
    pub key: String,
    /// What was found, secrets masked.
    pub found: String,
    /// What is allowed.
    pub allowed: String,
    /// Where it came from.
    pub origin: Origin,
    /// One thing to do.
    pub advice: String,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: found {}", self.key, self.found)?;
        writeln!(f, "  allowed: {}", self.allowed)?;
        writeln!(f, "  from:    {}", self.origin)?;
        write!(f, "  to do:   {}", self.advice)
    }
}

/// All faults of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFaults(pub Vec<ConfigFault>);

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has 1 error")?,
            count => write!(f, "the configuration has {count} errors")?,
        }
        for fault in &self.0 {
            write!(f, "\n\n{fault}")?;
        }
        Ok(())
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file given by `--config` does not exist (exit 78).
    #[error("configuration file {} does not exist; check the path given to --config", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file may not be read (exit 77).
    #[error(
        "permission denied reading configuration file {} as uid {uid}, gid {gid}; make it readable for your group, or run as its owner", path.display()
    )]
    Permission {
        /// The file.
        path: PathBuf,
        /// Effective uid of the caller.
        uid: u32,
        /// Effective gid of the caller.
        gid: u32,
    },
    /// The file cannot be read for another reason (exit 78).
    #[error("configuration file {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML (exit 78).
    #[error("{}:{line}: not valid TOML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What the parser says, without the text of the line: it may hold a secret.
        message: String,
    },
    /// Keys or values are wrong (exit 78).
    #[error("{0}")]
    Invalid(ConfigFaults),
}
