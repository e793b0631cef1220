//! `hyp.yaml`: settings under the names that the field's files have. Its values become the defaults of the flags, so that one
//! type, one set of parsers and one order of precedence hold: flag, environment, file, default.

use std::{
    ffi::OsString,
    io::Read,
    path::{Path, PathBuf},
};

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, error::ErrorKind};
use serde_json::{Map, Value};

/// More than this is no list of settings.
const MAX_BYTES: u64 = 1 << 20;
/// Edits between a key and the one that was meant.
const NEAR: usize = 3;

/// Keys, and the settings that they are. `scale` is the zoom, as in everybody's files; the network's size is a flag only.
pub const KEYS: &[(&str, &str)] = &[
    ("epochs", "epochs"),
    ("batch", "batch_size"),
    ("batch_size", "batch_size"),
    ("imgsz", "imgsz"),
    ("seed", "seed"),
    ("optimizer", "optimizer"),
    ("lr0", "lr0"),
    ("lrf", "lrf"),
    ("cos_lr", "cos_lr"),
    ("momentum", "momentum"),
    ("weight_decay", "weight_decay"),
    ("nbs", "nominal_batch"),
    ("nominal_batch", "nominal_batch"),
    ("warmup_epochs", "warmup_epochs"),
    ("warmup_momentum", "warmup_momentum"),
    ("warmup_bias_lr", "warmup_bias_lr"),
    ("clip_norm", "clip_norm"),
    ("box", "box"),
    ("cls", "cls"),
    ("dfl", "dfl"),
    ("patience", "patience"),
    ("min_iterations", "min_iterations"),
    ("freeze", "freeze"),
    ("precision", "precision"),
    ("mosaic", "mosaic"),
    ("close_mosaic", "close_mosaic"),
    ("mixup", "mixup"),
    ("degrees", "degrees"),
    ("translate", "translate"),
    ("scale", "zoom"),
    ("zoom", "zoom"),
    ("shear", "shear"),
    ("perspective", "perspective"),
    ("multi_scale", "multi_scale"),
    ("hsv_h", "hsv_h"),
    ("hsv_s", "hsv_s"),
    ("hsv_v", "hsv_v"),
    ("fliplr", "fliplr"),
    ("flipud", "flipud"),
];

/// Keys of the field without a meaning here: of other tasks, of older losses, of augmentations that there are none of, of
/// reports, and of what is a flag because it belongs to the machine or the run.
pub const FOREIGN: &[&str] = &[
    "pose",
    "kobj",
    "mask_ratio",
    "overlap_mask",
    "dropout",
    "label_smoothing",
    "anchors",
    "anchor_t",
    "iou_t",
    "fl_gamma",
    "obj",
    "obj_pw",
    "cls_pw",
    "copy_paste",
    "copy_paste_mode",
    "cutmix",
    "bgr",
    "auto_augment",
    "erasing",
    "crop_fraction",
    "single_cls",
    "rect",
    "classes",
    "fraction",
    "task",
    "mode",
    "model",
    "data",
    "cfg",
    "device",
    "workers",
    "cache",
    "time",
    "resume",
    "pretrained",
    "project",
    "name",
    "exist_ok",
    "save",
    "save_dir",
    "save_period",
    "save_json",
    "save_hybrid",
    "plots",
    "profile",
    "verbose",
    "deterministic",
    "amp",
    "val",
    "split",
    "conf",
    "iou",
    "max_det",
    "half",
    "dnn",
    "compile",
];

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HypError {
    /// The file system refused.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not a list of settings.
    #[error("{}: {why}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hyp {
    /// Settings and their values as one would type them.
    pub values: Vec<(&'static str, String)>,
    /// Keys that have no meaning here but ask for something.
    pub ignored: Vec<String>,
}

impl Hyp {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, is not YAML, or has a key that nobody knows.
    pub fn read(path: &Path) -> Result<Self, HypError> {
        let io = |source| HypError::Read { path: path.to_owned(), source };
        let content = |why: String| HypError::Content { path: path.to_owned(), why };
        let mut text = String::new();
        std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text)).map_err(io)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(content(format!("more than {MAX_BYTES} bytes: that is no list of settings")));
        }
        Self::parse(&text).map_err(content)
    }

    /// Reads text.
    ///
    /// # Errors
    /// In words, without the name of the file.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        let yaml: Map<String, Value> = serde_saphyr::from_str(text).map_err(|error| {
            let line = error.location().map_or(0, |location| location.line());
            format!("line {line}: {}", error.without_snippet())
        })?;
        let mut hyp = Self::default();
        for (key, value) in &yaml {
            hyp.take(key, value)?;
        }
        Ok(hyp)
    }

    fn take(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let Some(&(_, setting)) = KEYS.iter().find(|known| known.0 == key) else {
            if !FOREIGN.contains(&key) {
                return Err(unknown(key));
            }
            if asks_for_something(value) {
                self.ignored.push(key.to_owned());
            }
            return Ok(());
        };
        let value = match value {
            // As good as absent: so are the files that the field writes.
            Value::Null => return Ok(()),
            Value::Bool(value) => value.to_string(),
            Value::Number(value) => value.to_string(),
            Value::String(value) => value.clone(),
            Value::Array(layers) if key == "freeze" => first_layers(layers)?,
            Value::Array(_) | Value::Object(_) => return Err(format!("`{key}` is one value, not a list")),
        };
        if self.values.iter().any(|known| known.0 == setting) {
            return Err(format!("`{key}` says again what another key says; keep one of them"));
        }
        self.values.push((setting, value));
        Ok(())
    }

    /// The sentence for a log; `None` when everything was of use.
    pub fn warning(&self, path: &Path) -> Option<String> {
        let keys = self.ignored.join(", ");
        (!keys.is_empty()).then(|| format!("{}: these keys have no meaning here and are passed over: {keys}", path.display()))
    }

    /// `command` with these values for defaults, its subcommands' too.
    fn defaults(&self, command: Command) -> Command {
        let of = |id: &str| self.values.iter().find(|value| value.0 == id).map(|(_, value)| value.clone());
        let command = command.mut_args(|arg| match of(arg.get_id().as_str()) {
            // clap keeps defaults for the life of the process, and so do these few: they are read once.
            Some(value) => arg.default_value(&*value.leak()),
            None => arg,
        });
        command.mut_subcommands(|sub| self.defaults(sub))
    }
}

/// `copy_paste: 0.0`, `dropout: false`, `cfg: null` ask for nothing.
fn asks_for_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}

/// A list of layers is a number of first layers, if it is that.
fn first_layers(layers: &[Value]) -> Result<String, String> {
    let first = layers.iter().enumerate().all(|(at, layer)| layer.as_u64() == Some(at as u64));
    if first { Ok(layers.len().to_string()) } else { Err("`freeze` is a number of layers from the input on, or [0, 1, 2, …]".to_owned()) }
}

fn unknown(key: &str) -> String {
    let nearest = KEYS.iter().map(|known| (strsim::damerau_levenshtein(&key.to_lowercase(), known.0), known.0)).min();
    match nearest {
        Some((edits, near)) if edits <= NEAR => format!("there is no setting `{key}`; did you mean `{near}`?"),
        _ => format!("there is no setting `{key}`; docs/training-settings.md has those that there are"),
    }
}

/// Reads the command line, the environment and the file that they name: the settings, and a sentence for the log where a part
/// of the file is passed over.
///
/// # Errors
/// As clap has them, for the file too.
pub fn try_parse_from<C: CommandFactory + FromArgMatches>(
    args: impl IntoIterator<Item = OsString>,
) -> Result<(C, Option<String>), clap::Error> {
    let args: Vec<OsString> = args.into_iter().collect();
    let matches = C::command().try_get_matches_from(&args)?;
    let Some(path) = file(&matches) else { return Ok((C::from_arg_matches(&matches)?, None)) };
    let refuse = |why: String| C::command().error(ErrorKind::ValueValidation, why);
    let hyp = Hyp::read(&path).map_err(|error| refuse(error.to_string()))?;
    // Without the file everything was well: what is wrong now is a value of it.
    let matches = hyp.defaults(C::command()).try_get_matches_from(&args).map_err(|error| {
        let text = error.render().to_string();
        let why = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        refuse(format!("{}: {why}", path.display()))
    })?;
    Ok((C::from_arg_matches(&matches)?, hyp.warning(&path)))
}

/// [`try_parse_from`] for the process' own command line; ends the process on errors and on `--help`.
pub fn parse<C: CommandFactory + FromArgMatches>() -> (C, Option<String>) {
    try_parse_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
}

/// Of the command that was typed.
fn file(matches: &ArgMatches) -> Option<PathBuf> {
    let matches = matches.subcommand().map_or(matches, |(_, matches)| matches);
    matches.try_get_one::<PathBuf>("hyp").ok().flatten().cloned()
}

#[cfg(test)]
mod tests;
