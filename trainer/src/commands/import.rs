//! `edgeloop-trainer import FILE`: weights of one's own, looked at and written in our own form.

#[cfg(test)]
mod tests;

use std::{
    fmt::{self, Write as _},
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use edgeloop_model::{Network, Scale, import::NAMES_KEY, onnx, pt, safetensors};
use edgeloop_service::{
    exit::{BAD_INPUT, WithExitCode, bad_input},
    logs::LogArgs,
};
use edgeloop_store::{Architecture, Beside};

use super::print;
use crate::start::{Brought, StartError};

/// Looks at weights of one's own, says what they are, and writes them as ours.
///
/// Reads a training checkpoint or state dict (.pt) and .safetensors of YOLOv8 detectors, n to x. Nothing in the file is
/// executed. INIT_WEIGHTS takes the same files directly; importing shows beforehand what will be used, and keeps the names of
/// the classes with weights that have none.
#[derive(Debug, Args)]
pub struct Import {
    /// The file to read.
    pub file: PathBuf,
    /// What to write, .pt or .safetensors; by default FILE with the ending .edgeloop.pt.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Refuse the file unless it is of this size; by default its shapes say it.
    #[arg(long)]
    pub scale: Option<Scale>,
    /// Names of its classes in their order, as `bolt,nut` or a file with one a line; by default those that the file has.
    #[arg(long)]
    pub classes: Option<String>,
    /// Logs.
    #[command(flatten)]
    pub logs: LogArgs,
}

impl Import {
    /// Does it, and prints what it found and what can be typed next.
    ///
    /// # Errors
    /// With exit code 2 when the file is not usable or the output cannot be written.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let brought = Brought::read(&self.file, self.classes.as_deref()).exit_code(BAD_INPUT)?;
        let found = brought.imported.network.scale;
        if let Some(asked) = self.scale.filter(|asked| *asked != found) {
            return Err(bad_input(StartError::Scale { path: self.file.clone(), found, asked }));
        }
        print(&Report(&brought).to_string())?;
        let out = self.out.clone().unwrap_or_else(|| self.file.with_extension("edgeloop.pt"));
        let written = write(&brought, &self.file, &out).exit_code(BAD_INPUT)?;
        print(&format!("{written}\n{}", next(&brought, &out)))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What was found.
struct Report<'a>(&'a Brought);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Brought { path, imported, names, .. } = self.0;
        let network = &imported.network;
        let (width, usual) = (network.class_width(), Network::yolov8(network.scale, network.classes).class_width());
        writeln!(f, "{}: {}", path.display(), imported.form)?;
        writeln!(f, "  network  yolov8{}, {} values in {} arrays", network.scale, thousands(network.values()), imported.weights.len())?;
        writeln!(f, "  fits     {} of {} entries", imported.fits, imported.weights.len())?;
        match names {
            Some(names) => writeln!(f, "  classes  {}: {}", names.len(), names.join(", "))?,
            None => writeln!(
                f,
                "  classes  {}, without names. Classes are taken over by name: give them with --classes in their order, or a training\n           \
                 from this file starts their last layer anew",
                network.classes
            )?,
        }
        write!(f, "  head     class branch {width} wide")?;
        if width != usual {
            write!(f, " (usual for {} classes: {usual}; other tools build that and cannot load this one strictly)", network.classes)?;
        }
        for note in &imported.notes {
            write!(f, "\n  note     {note}")?;
        }
        Ok(())
    }
}

fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Writes the weights, and their names where the format has room for them or else beside them. Says what was written.
fn write(brought: &Brought, file: &Path, out: &Path) -> anyhow::Result<String> {
    let Brought { imported, names, .. } = brought;
    let is = |ending: &str| out.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending));
    let name = out.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    anyhow::ensure!(is("pt") || is("safetensors"), "{} must end in .pt or .safetensors: use --out PATH", out.display());
    anyhow::ensure!(
        !name.starts_with("latest") && !name.starts_with("model_"),
        "{name} is a name that a model folder uses for its own files: use --out with another one"
    );
    let same = fs::canonicalize(out).is_ok_and(|out| fs::canonicalize(file).is_ok_and(|file| file == out));
    anyhow::ensure!(!same, "{} would be overwritten: use --out with another name", file.display());

    let bytes = if is("pt") {
        pt::write(&imported.weights)?
    } else {
        let names = names.as_deref().map(onnx::write_names);
        let metadata: Vec<(&str, &str)> = [("format", "pt")].into_iter().chain(names.as_deref().map(|names| (NAMES_KEY, names))).collect();
        safetensors::write(&imported.weights, &metadata)?
    };
    replace(out, &bytes).map_err(|error| anyhow::anyhow!("cannot write {}: {error}; use --out PATH", out.display()))?;
    let mut written = format!("written  {} ({:.1} MB)", out.display(), bytes.len() as f64 / 1e6);
    if let (true, Some(names)) = (is("pt"), names) {
        let architecture = Architecture { family: "yolov8".to_owned(), scale: imported.network.scale.to_string() };
        let beside = Beside::write(out, &bytes, architecture, names.clone())?;
        write!(written, "\n         {} (the names of its classes; keep it beside it)", beside.display())?;
    }
    Ok(written)
}

/// Whole or not at all: a run may be reading the older one.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let mut file = File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)
}

/// What to type to train from it.
fn next(brought: &Brought, out: &Path) -> String {
    let path = std::path::absolute(out).unwrap_or_else(|_| out.to_owned());
    format!("train    INIT_WEIGHTS={} SCALE={} edgeloop-trainer", shell_word(&path.to_string_lossy()), brought.imported.network.scale)
}

/// A word as a shell reads it back.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
