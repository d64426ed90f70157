//! Traces: what preloads are told to note, and what they noted on its way to X-Ray.

use groundcrew_core::types::{ProcessId, Run};
use tokio_util::sync::CancellationToken;

use super::Agent;
use crate::config::TracesConfig;
use crate::handoff::preload::Tracing;
use crate::handoff::protocol::Notes;
use crate::traces::{Answerer, Traces};

/// Opens the way to X-Ray, when there is something to send.
pub(super) fn open(config: &TracesConfig, cancel: &CancellationToken) -> Option<Traces> {
    let wanted = tracing(config).is_some() || config.relay.is_some();
    wanted.then(|| Traces::open(config.relay, cancel))
}

/// What new processes are told.
pub(super) fn tracing(config: &TracesConfig) -> Option<Tracing> {
    let TracesConfig { sample_ppm, follow, .. } = *config;
    (sample_ppm > 0 || follow).then_some(Tracing { sample_ppm, follow })
}

impl Agent {
    /// Passes on what a process noted. One that was told to by an agent before may go on noting
    /// when this one does not trace.
    pub(super) fn trace(&self, id: &ProcessId, run: Run, notes: &Notes) {
        let Some(traces) = &self.traces else { return };
        let Some(known) = self.known.get(id).filter(|known| known.run == run) else { return };
        let instance = self.lifecycle.instance_id();
        let answerer = Answerer {
            process: id,
            release: &known.release,
            environment: self.config.environment.as_str(),
            instance: instance.as_deref(),
        };
        traces.note(&answerer, &notes.requests, notes.dropped);
    }
}
