//! What a run tells on standard output: a bar with the time left on a terminal, one JSON object a line elsewhere.

use std::io::{IsTerminal, Write};

use edgeloop_store::EpochLog;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::{BatchDone, Plan};

/// Redraws a second: more would cost a slow terminal line its time.
const REDRAWS: u8 = 4;

/// Where progress goes.
#[derive(Debug)]
pub enum Progress {
    /// A terminal.
    Bar(ProgressBar),
    /// A pipe or a file.
    Lines,
}

impl Progress {
    /// As standard output is a terminal or not.
    pub fn auto() -> Self {
        if std::io::stdout().is_terminal() {
            Self::Bar(ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout_with_hz(REDRAWS)))
        } else {
            Self::Lines
        }
    }

    /// A sentence on a terminal, `event` elsewhere.
    pub fn say(&self, text: &str, event: &Value) {
        match self {
            Self::Bar(bar) => bar.suspend(|| write_line(text)),
            Self::Lines => write_line(&event.to_string()),
        }
    }

    /// The training begins, with `done` epochs behind it.
    pub fn started(&self, plan: &Plan, done: u64) {
        let Plan { epochs, batches, images, parameters, judge_every } = *plan;
        if let Self::Bar(bar) = self {
            let style = ProgressStyle::with_template("{prefix} {bar:24} {percent:>3} % · {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_length(u64::from(epochs) * batches);
            bar.set_position(done * batches);
        }
        let event = json!({"event": "training", "epochs": epochs, "batches": batches, "images": images,
            "parameters": parameters, "judge_every": judge_every, "epochs_done": done});
        self.say(&format!("training: {epochs} epochs of {images} images, {parameters} parameters"), &event);
    }

    /// A batch is done; the `first` one of this process or a later one.
    pub fn batch(&self, plan: &Plan, at: &BatchDone, first: bool) {
        let Self::Bar(bar) = self else {
            if first {
                write_line(&json!({"event": "first_batch", "epoch": at.epoch, "batch": at.batch}).to_string());
            }
            return;
        };
        let [bbox, class, dfl] = at.losses;
        bar.set_position(u64::from(at.epoch - 1) * plan.batches + at.batch);
        bar.set_prefix(format!("epoch {}/{}", at.epoch, plan.epochs));
        bar.set_message(format!(
            "{} left · {:.0} images/s · box {bbox:.3} class {class:.3} dfl {dfl:.3}",
            duration(at.eta_s),
            at.images_per_s
        ));
    }

    /// An epoch is done.
    pub fn epoch(&self, plan: &Plan, log: &EpochLog, eta_s: f64) {
        let mut event = json!({"event": "epoch", "epochs": plan.epochs, "eta_s": eta_s.round()});
        if let (Value::Object(event), Ok(Value::Object(log))) = (&mut event, serde_json::to_value(log)) {
            event.extend(log);
        }
        let EpochLog { epoch, box_loss, cls_loss, dfl_loss, map50, map50_95, seconds, images_per_s, .. } = log;
        let judged = if map50.is_nan() { String::new() } else { format!(" · mAP50 {map50:.3} mAP50-95 {map50_95:.3}") };
        let text = format!(
            "epoch {epoch:>3}/{} · box {box_loss:.3} class {cls_loss:.3} dfl {dfl_loss:.3}{judged} · {seconds:.1} s, {images_per_s:.0} images/s",
            plan.epochs
        );
        self.say(&text, &event);
    }

    /// The training is over: the bar goes.
    pub fn ended(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// Nobody may be listening any more; that is no reason to stop training.
fn write_line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s:02} s"),
        (h, m, _) => format!("{h} h {m:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(7.4), "7 s");
        assert_eq!(duration(65.0), "1 min 05 s");
        assert_eq!(duration(3.0 * 3600.0 + 61.0), "3 h 01 min");
        assert_eq!(duration(f64::NAN), "0 s");
    }
}
