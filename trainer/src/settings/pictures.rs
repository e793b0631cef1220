//! How pictures are changed, under the names of the field.

use clap::Args;

use crate::data::Augment;

/// What `MULTI_SCALE=true` means.
const MULTI_SCALE: f32 = 0.5;

/// Settings of augmentation.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Augmentation")]
pub struct Pictures {
    /// Share of pictures made of four: small objects, many surroundings.
    #[arg(long, env = "MOSAIC", default_value_t = 1.0)]
    pub mosaic: f32,
    /// Epochs at the end without mosaic and mixup, on pictures as they will be met; at most half of the run.
    #[arg(long, env = "CLOSE_MOSAIC", default_value_t = 10)]
    pub close_mosaic: u32,
    /// Share of pictures with another one laid over them, boxes of both to be found: against overfitting in long runs.
    #[arg(long, env = "MIXUP", default_value_t = 0.0)]
    pub mixup: f32,
    /// Rotation, degrees either way. Boxes grow with it: for cameras that hang at any angle only.
    #[arg(long, env = "DEGREES", default_value_t = 0.0)]
    pub degrees: f32,
    /// Shift, fraction of the input either way.
    #[arg(long, env = "TRANSLATE", default_value_t = 0.1)]
    pub translate: f32,
    /// Zoom by 1 ± this. `scale` in a file, where the field has it; SCALE is the size of the network here.
    #[arg(long, env = "ZOOM", default_value_t = 0.5)]
    pub zoom: f32,
    /// Shear, degrees either way.
    #[arg(long, env = "SHEAR", default_value_t = 0.0)]
    pub shear: f32,
    /// Tilt either way, for each pixel from the middle, up to 0.001: for cameras that look from several heights.
    #[arg(long, env = "PERSPECTIVE", default_value_t = 0.0)]
    pub perspective: f32,
    /// Side of the input times 1 ± this, anew for each batch, in multiples of 32; `true` is 0.5. For objects of all sizes; memory is
    /// that of the largest.
    #[arg(long, env = "MULTI_SCALE", default_value = "0", num_args = 0..=1, default_missing_value = "true", value_parser = multi_scale)]
    pub multi_scale: f32,
    /// Hue, fraction of the circle either way.
    #[arg(long, env = "HSV_H", default_value_t = 0.015)]
    pub hsv_h: f32,
    /// Saturation times 1 ± this.
    #[arg(long, env = "HSV_S", default_value_t = 0.7)]
    pub hsv_s: f32,
    /// Brightness times 1 ± this.
    #[arg(long, env = "HSV_V", default_value_t = 0.4)]
    pub hsv_v: f32,
    /// Share mirrored left to right; 0 where left and right differ (letters, arrows).
    #[arg(long, env = "FLIPLR", default_value_t = 0.5)]
    pub fliplr: f32,
    /// Share mirrored top to bottom; 0.5 for pictures from above.
    #[arg(long, env = "FLIPUD", default_value_t = 0.0)]
    pub flipud: f32,
}

fn multi_scale(text: &str) -> Result<f32, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(MULTI_SCALE),
        "false" => Ok(0.0),
        number => number.parse().map_err(|_| "use `true`, `false`, or a number between 0 and 0.5".to_owned()),
    }
}

impl Pictures {
    /// As the loader takes it.
    pub fn augment(&self) -> Augment {
        // All named: a new setting that the loader is not told of does not compile.
        let Self {
            mosaic,
            close_mosaic: _,
            mixup,
            degrees,
            translate,
            zoom,
            shear,
            perspective,
            multi_scale,
            hsv_h,
            hsv_s,
            hsv_v,
            fliplr,
            flipud,
        } = *self;
        Augment { mosaic, degrees, translate, scale: zoom, shear, hsv_h, hsv_s, hsv_v, fliplr, flipud, perspective, mixup, multi_scale }
    }
}
