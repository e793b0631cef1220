//! The names that a pickle may refer to, and what each stands for here. A name is never looked up anywhere.

use super::super::PtError;
use super::super::storage::Dtype;
use super::super::value::{Global, Value, shorten};

/// Modules whose classes are taken as bags of attributes: those of which a detector's module tree is made.
const MODULE_TREES: [&str; 2] = ["torch.nn.", "ultralytics."];

/// Callables whose result is a small value that no weights depend on: paths, dates, numpy's scalars, sets of names. What
/// they would make is not made; a place-holder stands for it.
const PLAIN: [(&str, &[&str]); 11] = [
    ("__builtin__", &["set", "frozenset", "complex", "slice", "range", "xrange", "bytearray"]),
    ("builtins", &["set", "frozenset", "complex", "slice", "range", "bytearray"]),
    ("_codecs", &["encode"]),
    ("datetime", &["datetime", "date", "time", "timedelta", "timezone"]),
    ("numpy", &["dtype"]),
    ("numpy.core.multiarray", &["scalar"]),
    ("numpy._core.multiarray", &["scalar"]),
    ("pathlib", &["Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"]),
    ("pathlib._local", &["Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"]),
    ("torch", &["Size", "device"]),
    ("uuid", &["UUID"]),
];

/// Names that stand for themselves: kinds of numbers and builtin types. Calling one is refused.
const NAMES: [(&str, &[&str]); 3] = [
    (
        "torch",
        &[
            "float16",
            "float32",
            "float64",
            "bfloat16",
            "int8",
            "int16",
            "int32",
            "int64",
            "uint8",
            "bool",
            "strided",
            "contiguous_format",
            "channels_last",
            "preserve_format",
        ],
    ),
    ("builtins", &["bool", "bytes", "dict", "float", "int", "list", "object", "str", "tuple"]),
    ("__builtin__", &["bool", "dict", "float", "int", "list", "long", "object", "str", "tuple", "unicode"]),
];

/// Bytes of a module's or a class's name. Names can be used again by their number in the memo: long ones would be memory for
/// three bytes of pickle.
const MAX_NAME: usize = 128;

/// What `module.name` stands for.
///
/// # Errors
/// [`PtError::Foreign`] for every name that weights do not need.
pub(super) fn resolve(module: &str, name: &str) -> Result<Value, PtError> {
    let listed = |list: &[(&str, &[&str])]| list.iter().any(|(listed, names)| *listed == module && names.contains(&name));
    let refuse = || PtError::Foreign(shorten(&format!("{module}.{name}")));
    // `getattr` by another door: a dotted name reaches into what it names.
    if name.is_empty()
        || name.len() > MAX_NAME
        || module.len() > MAX_NAME
        || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Err(refuse());
    }
    let known = match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("collections", "defaultdict") => Global::DefaultDict,
        ("types", "SimpleNamespace") => Global::Class(format!("{module}.{name}").into()),
        ("copyreg" | "copy_reg", "_reconstructor") => Global::Reconstructor,
        ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
        ("torch.storage", "UntypedStorage") => Global::Storage(Dtype::Byte),
        ("torch.nn.parameter", _) => return Err(refuse()),
        // A function kept as an attribute, as an activation may be.
        ("torch.nn.functional", _) => return Ok(Value::Opaque),
        _ if listed(&NAMES) => return Ok(Value::Opaque),
        _ if listed(&PLAIN) => Global::Plain,
        _ if MODULE_TREES.iter().any(|tree| module.starts_with(tree)) => Global::Class(format!("{module}.{name}").into()),
        ("torch", class) => Global::Storage(Dtype::of_class(class).ok_or_else(refuse)?),
        _ => return Err(refuse()),
    };
    Ok(Value::Global(known))
}
