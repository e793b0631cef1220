//! Where loaders get pictures from: the folder of decoded ones, or the image itself.

use super::{
    Dataset, Sample,
    cache::disk::{DiskCache, Fitted},
    check::{read_image, read_image_and_content},
};
use edgeloop_vision::{
    Image,
    letterbox::{Letterbox, resize},
};
use std::{collections::HashSet, sync::Arc, time::Instant};

/// Pictures of one input size.
pub struct Source {
    imgsz: u32,
    disk: Option<Arc<DiskCache>>,
}

impl Source {
    /// For the images of one side. The disk is used where `budget` bytes of memory do not hold them all.
    pub fn new(dataset: &Dataset, side: &[Sample], imgsz: u32, budget: usize) -> Self {
        let bytes = |sample: &Sample| {
            let fit = Letterbox::fit(sample.width, sample.height, imgsz, imgsz);
            DiskCache::bytes(fit.fit_w, fit.fit_h)
        };
        let all: u64 = side.iter().map(bytes).sum();
        let disk = dataset.disk.clone().filter(|_| all > budget as u64);
        if let Some(disk) = &disk {
            let wanted: HashSet<String> =
                dataset.train.iter().chain(&dataset.val).map(|sample| DiskCache::name(&sample.content, imgsz)).collect();
            disk.make_room(&wanted, all);
        }
        Self { imgsz, disk }
    }

    /// The image of a sample, upright, resized with the one resize of training, judging and serving; without padding.
    pub fn get(&self, sample: &Sample) -> Result<Fitted, String> {
        let Some(disk) = &self.disk else { return Ok(self.fit(&read_image(&sample.path)?)) };
        let name = DiskCache::name(&sample.content, self.imgsz);
        if let Some(fitted) = disk.get(&name) {
            return Ok(fitted);
        }
        let started = Instant::now();
        let (image, content) = read_image_and_content(&sample.path)?;
        let fitted = self.fit(&image);
        disk.decoded(started);
        // Changed since the scan: its picture must not be found under the old content.
        if content == sample.content {
            disk.put(&name, &fitted);
        }
        Ok(fitted)
    }

    fn fit(&self, image: &Image) -> Fitted {
        let fit = Letterbox::fit(image.width, image.height, self.imgsz, self.imgsz);
        Fitted { image: resize(image, fit.fit_w, fit.fit_h), src_w: image.width, src_h: image.height }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::data::{DataOptions, Scan, scan, testing::flat};

    fn dataset() -> (tempfile::TempDir, Dataset, Arc<DiskCache>) {
        let (dir, cache) = (flat(12), tempfile::tempdir().unwrap());
        let disk = Arc::new(DiskCache::open(cache.path(), 1 << 20).unwrap());
        let Scan::Ready(dataset) = scan(dir.path(), &DataOptions::default()).unwrap() else { panic!("labelled") };
        (dir, Dataset { disk: Some(disk.clone()), ..dataset }, disk)
    }

    #[test]
    fn the_picture_on_disk_is_the_decoded_one_and_outlives_the_image() {
        let (_dir, dataset, disk) = dataset();
        let sample = &dataset.train[0];
        let plain = Source { imgsz: 64, disk: None }.get(sample).unwrap();
        let source = Source::new(&dataset, &dataset.train, 64, 0);
        assert_eq!(source.get(sample).unwrap(), plain);
        assert!(disk.get(&DiskCache::name(&sample.content, 64)).is_some());
        std::fs::remove_file(&sample.path).unwrap();
        assert_eq!(source.get(sample).unwrap(), plain);
    }

    #[test]
    fn what_fits_into_memory_is_not_written_to_disk() {
        let (_dir, dataset, disk) = dataset();
        let sample = &dataset.train[0];
        Source::new(&dataset, &dataset.train, 64, 1 << 20).get(sample).unwrap();
        assert!(disk.get(&DiskCache::name(&sample.content, 64)).is_none());
    }

    #[test]
    fn an_image_changed_since_the_scan_is_not_kept_under_its_old_content() {
        let (_dir, dataset, disk) = dataset();
        let (sample, other) = (&dataset.train[0], &dataset.train[1]);
        std::fs::copy(&other.path, &sample.path).unwrap();
        let source = Source::new(&dataset, &dataset.train, 64, 0);
        assert_eq!(source.get(sample).unwrap(), source.get(other).unwrap());
        assert!(disk.get(&DiskCache::name(&sample.content, 64)).is_none());
    }
}
