//! Burn's dashboard, counting optimiser steps.
//!
//! Burn's renderer counts epochs, reads Ctrl-C as a key without a meaning, and waits for its next
//! event in a loop that keeps a processor busy. This wrapper counts steps, turns Ctrl-C back into the
//! usual signal, and lowers the priority of that loop, so that it takes no time from the training.

use burn::data::dataloader::Progress;
use burn_train::Interrupter;
use burn_train::metric::MetricDefinition;
use burn_train::renderer::tui::TuiMetricsRendererWrapper;
use burn_train::renderer::{
    EvaluationName, EvaluationProgress, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining, ProgressType, TrainingProgress,
};

use crate::terminal::{self, Remembered};

/// The dashboard of a run.
pub(crate) struct Dashboard {
    tui: TuiMetricsRendererWrapper,
    interrupter: Interrupter,
    /// Steps done when this process took over.
    first_step: usize,
    total_steps: usize,
    step: usize,
    /// Last, since fields are dropped in order: the dashboard gives the terminal back itself.
    _terminal: Remembered,
}

impl Dashboard {
    /// Takes the terminal, until dropped.
    pub fn start(interrupter: Interrupter, first_step: usize, total_steps: usize) -> Self {
        terminal::exit_when_killed();
        let remembered = Remembered::now();
        // The starting step is ours to count, so Burn gets none.
        let tui =
            terminal::at_low_priority(|| TuiMetricsRendererWrapper::new(interrupter.clone(), None));
        terminal::keep_interrupt_key();
        Self {
            tui,
            interrupter,
            first_step,
            total_steps,
            step: first_step,
            _terminal: remembered,
        }
    }

    fn indicators(&self, batch: Option<Progress>) -> Vec<ProgressType> {
        let step = Progress::new(self.step, self.total_steps);
        let mut shown = vec![ProgressType::Detailed {
            tag: "Step".into(),
            progress: step,
        }];
        if let Some(progress) = batch {
            shown.push(ProgressType::Detailed {
                tag: "Batch".into(),
                progress,
            });
        }
        if self.interrupter.should_stop() {
            shown.push(ProgressType::Value {
                tag: "Stopping after step".into(),
                value: self.step,
            });
        }
        shown
    }
}

impl MetricsRendererTraining for Dashboard {
    fn update_train(&mut self, state: MetricState) {
        self.tui.update_train(state);
    }

    fn update_valid(&mut self, state: MetricState) {
        self.tui.update_valid(state);
    }

    fn render_train(&mut self, item: TrainingProgress, _: Vec<ProgressType>) {
        self.step = item.iteration.unwrap_or(0);
        // Relative to the first step of this process, or the time left would be that of a run
        // which made all steps since then.
        let done = self.step.saturating_sub(self.first_step);
        let total = self.total_steps.saturating_sub(self.first_step).max(1);
        let progress = TrainingProgress {
            progress: Some(Progress::new(done, total)),
            global_progress: Progress::new(1, 1),
            iteration: Some(done),
        };
        self.tui.render_train(progress, self.indicators(None));
    }

    fn render_valid(&mut self, item: TrainingProgress, _: Vec<ProgressType>) {
        let indicators = self.indicators(item.progress.clone());
        self.tui.render_valid(item, indicators);
    }

    fn on_train_end(
        &mut self,
        summary: Option<burn_train::LearnerSummary>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        self.tui.on_train_end(summary)
    }
}

impl MetricsRendererEvaluation for Dashboard {
    fn update_test(&mut self, name: EvaluationName, state: MetricState) {
        self.tui.update_test(name, state);
    }

    fn render_test(&mut self, item: EvaluationProgress, indicators: Vec<ProgressType>) {
        self.tui.render_test(item, indicators);
    }
}

impl MetricsRenderer for Dashboard {
    fn manual_close(&mut self) {
        self.tui.manual_close();
    }

    fn register_metric(&mut self, definition: MetricDefinition) {
        self.tui.register_metric(definition);
    }
}
