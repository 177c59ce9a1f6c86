//! The runtime of commands and daemon.

/// A runtime for commands and daemon: two workers carry far more than 300 requests a minute.
pub(super) fn async_runtime() -> std::io::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    Ok(Runtime(Some(runtime)))
}

/// Ends without waiting for blocking calls: a name look-up or a file that hangs must not keep the process.
pub(super) struct Runtime(Option<tokio::runtime::Runtime>);

impl Runtime {
    pub(super) fn block_on<F: Future>(&self, work: F) -> F::Output {
        self.0.as_ref().expect("there until it is dropped").block_on(work)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
