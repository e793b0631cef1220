//! The points that predict: one per cell of each level of the head, level after level, row by row.

/// One level of the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Cells from top to bottom.
    pub h: usize,
    /// Cells from left to right.
    pub w: usize,
    /// Pixels of a cell.
    pub stride: usize,
}

/// All levels of a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchors {
    grids: Vec<Grid>,
    /// Number of the first anchor of each grid, and at the end that of all.
    first: Vec<usize>,
}

impl Anchors {
    /// Anchors of `grids`, in their order.
    pub fn new(grids: Vec<Grid>) -> Self {
        let mut first = vec![0];
        for grid in &grids {
            first.push(first[first.len() - 1] + grid.h * grid.w);
        }
        Self { grids, first }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.first[self.grids.len()]
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cell size of the finest level, in pixels.
    pub fn finest(&self) -> usize {
        self.grids.iter().map(|g| g.stride).min().unwrap_or(1)
    }

    /// Centre (x, y) and stride of anchor `a`, in pixels.
    pub fn at(&self, a: usize) -> ([f32; 2], f32) {
        let level = self.first.partition_point(|&f| f <= a) - 1;
        let (grid, cell) = (self.grids[level], a - self.first[level]);
        (centre(grid, cell % grid.w, cell / grid.w), grid.stride as f32)
    }

    /// Calls `found(anchor, centre, stride)` for every anchor whose centre lies inside `bbox` (x1, y1, x2, y2 in pixels), by
    /// number. Only the cells under the box are looked at.
    pub fn inside(&self, bbox: [f32; 4], mut found: impl FnMut(usize, [f32; 2], f32)) {
        for (grid, &first) in self.grids.iter().zip(&self.first) {
            let s = grid.stride as f32;
            // The centre of cell i is (i + ½)·s. One cell more on each side, so that rounding decides nothing here.
            let range = |low: f32, high: f32, cells: usize| {
                let from = (low / s - 1.5).floor().max(0.0) as usize;
                from..((high / s + 1.5).ceil().max(0.0) as usize).min(cells)
            };
            for y in range(bbox[1], bbox[3], grid.h) {
                for x in range(bbox[0], bbox[2], grid.w) {
                    let c = centre(*grid, x, y);
                    if c[0] > bbox[0] && c[0] < bbox[2] && c[1] > bbox[1] && c[1] < bbox[3] {
                        found(first + y * grid.w + x, c, s);
                    }
                }
            }
        }
    }
}

fn centre(grid: Grid, x: usize, y: usize) -> [f32; 2] {
    let s = grid.stride as f32;
    [(x as f32 + 0.5) * s, (y as f32 + 0.5) * s]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_levels() -> Anchors {
        Anchors::new(vec![Grid { h: 2, w: 4, stride: 8 }, Grid { h: 1, w: 2, stride: 16 }])
    }

    fn inside(bbox: [f32; 4]) -> Vec<usize> {
        let mut out = Vec::new();
        two_levels().inside(bbox, |a, _, _| out.push(a));
        out
    }

    #[test]
    fn numbers_run_by_row_and_then_by_level() {
        let anchors = two_levels();
        assert_eq!(anchors.len(), 10);
        assert_eq!(anchors.at(0), ([4.0, 4.0], 8.0));
        assert_eq!(anchors.at(5), ([12.0, 12.0], 8.0));
        assert_eq!(anchors.at(9), ([24.0, 8.0], 16.0));
    }

    #[test]
    fn inside_is_strict_and_clipped_to_the_picture() {
        // centres of stride 8: x 4 12 20 28, y 4 12; of stride 16: (8, 8) (24, 8)
        assert_eq!(inside([0.0, 0.0, 13.0, 9.0]), [0, 1, 8]);
        assert_eq!(inside([4.0, 0.0, 13.0, 9.0]), [1, 8]);
        assert_eq!(inside([-50.0, -50.0, 90.0, 90.0]), (0..10).collect::<Vec<_>>());
        assert_eq!(inside([5.0, 5.0, 7.0, 7.0]), [] as [usize; 0]);
    }
}
