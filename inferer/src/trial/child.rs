//! The child's side: bounds on itself first, then the candidate.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use edgeloop_engine::{Device, EngineError, LoadOptions, library_version};
use rustix::process::{Resource, Rlimit, Signal, getppid, nice, set_parent_process_death_signal, setrlimit};

use super::frame::{self, Header, Verdict};
use crate::engines::kind::Kind;
use crate::engines::shapes::Shape;

/// The first argument that makes the program a child. It is no option: nobody types it.
pub const NAME: &str = "try-candidate";

/// Open files that loading a library and a model needs, with a margin.
const FILES: u64 = 256;
/// What may be printed before it crashes.
const PRINTED: u64 = 1 << 20;

/// Runs as a child if the arguments say so.
pub fn requested(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    if arguments.next()? != NAME {
        return None;
    }
    let parent = arguments.next().and_then(|id| id.to_str()?.parse().ok());
    let device = arguments.next().and_then(|device| device.to_str()?.parse().ok());
    let niceness = arguments.next().and_then(|niceness| niceness.to_str()?.parse().ok());
    let (Some(parent), Some(device), Some(niceness)) = (parent, device, niceness) else {
        eprintln!("{NAME} is for edgeloop-inferer itself: it tries a model before it is served");
        return Some(ExitCode::from(2));
    };
    Some(match nice(niceness).map_err(io::Error::from).and_then(|_| cut_off(parent)).and_then(|given| answer(device, &given)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    })
}

/// Nothing of the parent is left to it, and it ends with the parent. Returns the file with the candidate.
fn cut_off(parent: i32) -> io::Result<File> {
    // What the parent itself was given by its own parents (a lock, a log's pipe) is not marked to be closed on exec.
    // SAFETY: this is the first thing that the process does; nothing of it owns a descriptor above standard error.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    if closed != 0 && io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS) {
        return Err(io::Error::last_os_error());
    }
    // The candidate comes as standard output, which then goes where standard error goes: libraries print.
    let given = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    // SAFETY: both are open, and neither is owned by anything that would close it.
    if unsafe { libc::dup2(2, 1) } < 0 {
        return Err(io::Error::last_os_error());
    }
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have gone before that was said.
    if getppid().is_none_or(|id| id.as_raw_nonzero().get() != parent) {
        return Err(io::Error::other("the process that asked has gone"));
    }
    rustix::thread::set_name(c"candidate")?;
    rustix::thread::set_no_new_privs(true)?;
    // Raising it needs no privilege: when memory runs out, this process goes and not the server.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    Ok(given)
}

/// What it may take.
fn bound(memory: u64, seconds: u64) -> io::Result<()> {
    let limits = [
        // Private memory that can be written to: heap, stacks, anonymous maps. Libraries and reserved addresses do not count, so that
        // the figure is about memory and not about layout.
        (Resource::Data, memory),
        (Resource::Cpu, seconds),
        (Resource::Core, 0),
        (Resource::Nofile, FILES),
        (Resource::Fsize, PRINTED),
    ];
    for (resource, most) in limits {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

fn answer(device: Device, given: &File) -> io::Result<()> {
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // The library is found and linked while the parent reads the store: most of a start's time. Which one it will be is a guess; one
    // that cannot be had says so when it is asked for.
    let _ = library_version(device);
    let header: Header = frame::read_head(&mut socket)?;
    bound(header.memory, header.seconds)?;
    let verdict = match judge(&header, given, &mut socket)? {
        Ok(()) => Verdict::Good,
        Err(verdict) => verdict,
    };
    frame::tell(&verdict, &mut socket)?;
    // The parent has all it wanted and kills this process. Taking the engine down in order would only cost time.
    std::thread::park();
    Ok(())
}

fn judge(header: &Header, given: &File, socket: &mut UnixStream) -> io::Result<Result<(), Verdict>> {
    let Kind { device, precision } = header.kind;
    let onnx = header.read_onnx(given)?;
    let load = |shape: &Shape| {
        let (height, width) = (shape.height as usize, shape.width as usize);
        let options = LoadOptions { device, precision, threads: header.threads, height, width };
        edgeloop_engine::load(&onnx, &options).map_err(|error| match error {
            EngineError::Model { reason, .. } => Verdict::Engine(reason),
            error => Verdict::Engine(error.to_string()),
        })
    };
    let Some(first) = header.shapes.first() else { return Err(io::Error::other("no shape to try")) };
    let mut engine = match load(first) {
        Ok(engine) => engine,
        Err(refused) => return Ok(Err(refused)),
    };
    // The parent loads it as well while it runs here.
    frame::tell(&Verdict::Loaded, socket)?;
    let check = header.read_check(frame::read_head(socket)?, given)?;
    for (nth, shape) in header.shapes.iter().enumerate() {
        if nth > 0 {
            engine = match engine.in_shape(shape.height as usize, shape.width as usize).map_or_else(|| load(shape), Ok) {
                Ok(engine) => engine,
                Err(refused) => return Ok(Err(refused)),
            };
        }
        let square = shape.height == shape.width;
        let checked = if square { check.reproduce(&mut *engine) } else { check.look_alike(&mut *engine, *shape, None, 0) };
        if let Err(reason) = checked {
            return Ok(Err(Verdict::Check(reason)));
        }
    }
    Ok(Ok(()))
}
