//! Whether the API's host answers at all. Pure.
//!
//! Lanes back off by themselves. If everything that was tried failed, the host is down, and one probe serves all lanes.

/// Failures in a row, over all lanes, after which the lanes that have failed send one request at a time.
const OPENS_AT: u32 = 4;

/// A circuit breaker for the host.
#[derive(Debug, Default)]
pub(crate) struct HostBreaker {
    failures: u32,
}

impl HostBreaker {
    /// No answer, or one that says that the service is unwell.
    pub(crate) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// The service spoke about a request. `true` if the breaker was open: lanes need not wait on.
    pub(crate) fn answered(&mut self) -> bool {
        let was_open = self.is_open();
        self.failures = 0;
        was_open
    }

    /// One request at a time of the lanes that have failed.
    pub(crate) fn is_open(&self) -> bool {
        self.failures >= OPENS_AT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_with_an_answer() {
        let mut host = HostBreaker::default();
        for _ in 0..3 {
            host.failed();
        }
        assert!(!host.is_open());
        assert!(!host.answered());

        for _ in 0..4 {
            host.failed();
        }

        assert!(host.is_open());
        assert!(host.answered());
        assert!(!host.is_open());
    }
}
