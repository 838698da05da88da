//! Where on the page a moment or a figure is.

use serde::Serialize;

use crate::Time;

/// Width of the drawing, in the units of its view box.
pub(super) const WIDTH: f64 = 1120.0;
/// Where the time axis begins: labels of figures stand left of it.
pub(super) const LEFT: f64 = 104.0;
/// Where it ends: the last label needs room.
pub(super) const RIGHT: f64 = WIDTH - 24.0;

/// Round steps of seconds between two labels.
const STEPS: [u64; 12] = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600];

/// The time axis: from zero to the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    /// The end, at least one second.
    pub(super) end: Time,
}

/// A mark on an axis.
#[derive(Debug, Serialize)]
pub(super) struct Tick {
    /// Its place.
    pub(super) at: f64,
    /// Its label.
    pub(super) label: String,
}

impl Axis {
    pub(super) fn new(end: Time) -> Self {
        Self { end: end.max(Time(1_000_000)) }
    }

    /// Where a moment is.
    pub(super) fn x(self, at: Time) -> f64 {
        rounded(LEFT + (RIGHT - LEFT) * at.min(self.end).secs() / self.end.secs())
    }

    /// Ten labels or so, at round times.
    pub(super) fn ticks(self) -> Vec<Tick> {
        let seconds = self.end.0 / 1_000_000;
        let step = STEPS.into_iter().find(|step| seconds / step <= 12).unwrap_or(7200);
        (0..=seconds / step)
            .map(|index| Time(index * step * 1_000_000))
            .map(|at| Tick { at: self.x(at), label: super::words::clock(at) })
            .collect()
    }
}

/// Figures from bottom to top of a track.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    /// The track's height.
    pub(super) height: f64,
    /// What is at the bottom.
    pub(super) low: f64,
    /// What is at the top.
    pub(super) high: f64,
}

impl Scale {
    /// Where a figure is; what does not fit is at the edge.
    pub(super) fn y(self, figure: f64) -> f64 {
        let part = ((figure - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        rounded(self.height * (1.0 - part))
    }
}

/// A tenth of a unit is less than a screen shows.
pub(super) fn rounded(place: f64) -> f64 {
    (place * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_goes_from_zero_to_the_end_with_round_labels() {
        let axis = Axis::new(Time::from_secs(175.0));
        assert_eq!((axis.x(Time(0)), axis.x(Time::from_secs(175.0))), (LEFT, RIGHT));
        assert_eq!(axis.x(Time::from_secs(900.0)), RIGHT, "what is later than the end is off the page");
        let labels: Vec<_> = axis.ticks().into_iter().map(|tick| tick.label).collect();
        assert_eq!(labels, ["0:00", "0:20", "0:40", "1:00", "1:20", "1:40", "2:00", "2:20", "2:40"]);
    }

    #[test]
    fn a_rehearsal_without_any_time_has_an_axis() {
        assert_eq!(Axis::new(Time(0)).x(Time(0)), LEFT);
    }

    #[test]
    fn a_scale_keeps_what_is_too_large_inside() {
        let scale = Scale { height: 20.0, low: 0.0, high: 4.0 };
        assert_eq!([0.0, 2.0, 4.0, 9.0].map(|figure| scale.y(figure)), [20.0, 10.0, 0.0, 0.0]);
    }
}
