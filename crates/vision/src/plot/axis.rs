//! Where the ticks of an axis are, and what stands beside them.

/// A range with ticks at round numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub low: f64,
    pub high: f64,
    step: f64,
}

impl Axis {
    /// An axis over finite `values`, widened to ticks of 1, 2 or 5 times a power of ten, about `ticks` of them.
    pub fn over(values: impl Iterator<Item = f64>, ticks: usize) -> Axis {
        let (low, high) = values.filter(|v| v.is_finite()).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            return Axis::fixed(0.0, 1.0, ticks);
        }
        // One value only: half a unit of room on both sides, in its own order of magnitude.
        let room = if high > low { 0.0 } else { (high.abs() * 0.5).max(0.5) };
        let mut axis = Axis::fixed(low - room, high + room, ticks);
        axis.low = (axis.low / axis.step).floor() * axis.step;
        axis.high = (axis.high / axis.step).ceil() * axis.step;
        axis
    }

    /// Exactly this range.
    pub fn fixed(low: f64, high: f64, ticks: usize) -> Axis {
        let (low, high) = if low.is_finite() && high.is_finite() && high > low { (low, high) } else { (0.0, 1.0) };
        let rough = (high - low) / ticks.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0].map(|s| s * power).into_iter().find(|s| *s >= rough * 0.999).unwrap_or(10.0 * power);
        Axis { low, high, step }
    }

    /// As [`Axis::over`], for things that are counted: no ticks between whole numbers, no widening.
    pub fn counting(values: impl Iterator<Item = f64> + Clone, ticks: usize) -> Axis {
        let wide = Axis::over(values.clone(), ticks);
        let (low, high) = values.filter(|v| v.is_finite()).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = if high > low { (low, high) } else { (wide.low, wide.high) };
        Axis { low, high, step: wide.step.max(1.0) }
    }

    /// 0 at `low`, 1 at `high`.
    pub fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// Tick values and their words; at most 100.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let first = (self.low / self.step - 1e-9).ceil();
        let digits = (-self.step.log10().floor()).clamp(0.0, 9.0) as usize;
        (0..100)
            .map(|i| (first + f64::from(i)) * self.step)
            .take_while(|v| *v <= self.high + self.step * 1e-9)
            .map(|v| (v, format!("{:.digits$}", if v.abs() < self.step * 1e-6 { 0.0 } else { v })))
            .collect()
    }
}
