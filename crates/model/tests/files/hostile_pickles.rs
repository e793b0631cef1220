//! Pickles that call something, that never end, or that grow.

use rstest::rstest;

use super::archive::pytorch;
use super::pickle::Pickle;
use super::refused;

fn refused_pickle(pickle: Vec<u8>) -> String {
    refused(pytorch(&pickle, &[vec![0; 16]]))
}

/// What `__reduce__` of a malicious object makes: the name, one argument, the call.
#[rstest]
fn a_call_is_refused_by_its_name(
    #[values(
        ("os", "system"),
        ("posix", "system"),
        ("nt", "system"),
        ("subprocess", "Popen"),
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "getattr"),
        ("builtins", "__import__"),
        ("__builtin__", "eval"),
        ("__builtin__", "apply"),
        ("importlib", "import_module"),
        ("runpy", "run_path"),
        ("pickle", "loads"),
        ("_pickle", "loads"),
        ("operator", "attrgetter"),
        ("operator", "methodcaller"),
        ("functools", "partial"),
        ("types", "FunctionType"),
        ("shutil", "rmtree"),
        ("socket", "create_connection"),
        ("webbrowser", "open"),
        ("collections", "namedtuple"),
        ("torch", "load"),
        ("torch", "FloatTensor"),
        ("torch.hub", "load"),
        ("torch.serialization", "load"),
        ("torch.utils.data", "DataLoader"),
        ("numpy", "load"),
        ("numpy", "ndarray"),
        ("__main__", "Net"),
        ("torch.nn.parameter", "Parameter"),
        ("ultralytics.utils.downloads", "safe_download"),
        ("ultralytics.nn.tasks", "torch.os.system"),
        ("torch.nn.functional", "torch.os.system"),
        ("torch.nn.modules.module", "os\0system")
    )]
    name: (&str, &str),
) {
    let (module, name) = name;
    let mut text_names = Pickle::new().text(module).text(name).raw(b"\x93").0;
    text_names[1] = 4;
    for pickle in [
        Pickle::new().call(module, name, |pickle| pickle.text("id")).stop(),
        // protocol 4: the name as text
        Pickle(text_names).text("id").raw(b"\x85R").stop(),
        // in a value of a dict that is otherwise a state dict
        Pickle::new().dict(|pickle| pickle.text("a").call(module, name, |pickle| pickle.text("id"))).stop(),
        // as a class, of which an object is made
        Pickle::new().global(module, name).text("id").raw(b"\x85\x81").stop(),
        // left on the stack, made and thrown away
        Pickle::new().call(module, name, |pickle| pickle.text("id")).raw(b"0}").stop(),
    ] {
        let words = refused_pickle(pickle);
        assert!(words.contains("refers to") || words.contains("line of text"), "{words}");
    }
}

/// Attributes are kept, never set: Python would call `__setstate__`, or write into a class.
#[rstest]
#[case::of_a_class(Pickle::new().global("torch.nn.modules.conv", "Conv2d").dict(|pickle| pickle.text("forward").raw(b"N")).raw(b"b"))]
#[case::of_a_tensor(Pickle::new().tensor("FloatStorage", "0", 4, 0, &[4], &[1]).dict(|pickle| pickle.text("data").raw(b"N")).raw(b"b"))]
#[case::of_a_list(Pickle::new().raw(b"]").dict(|pickle| pickle.text("append").raw(b"N")).raw(b"b"))]
#[case::of_text(Pickle::new().text("a").raw(b"}b"))]
#[case::twice(Pickle::new().object("torch.nn.modules.conv", "Conv2d", |pickle| pickle).raw(b"}b"))]
#[case::of_nothing(Pickle::new().raw(b"}b"))]
fn attributes_belong_to_objects_only(#[case] pickle: Pickle) {
    let words = refused_pickle(pickle.stop());
    assert!(words.contains("attributes") || words.contains("empty"), "{words}");
}

#[rstest]
#[case::old_style_instance(b"(ios\nsystem\n.")]
#[case::old_style_object(b"(cos\nsystem\no.")]
#[case::extension_registry(b"\x82\x01.")]
#[case::persistent_id_as_a_line(b"P../../etc/passwd\n.")]
#[case::persistent_id_of_text(b"X\x07\0\0\0storageQ.")]
#[case::persistent_id_of_an_object(b"ctorch.nn.modules.conv\nConv2d\n)\x81Q.")]
#[case::persistent_id_of_too_few(b"(X\x07\0\0\0storagetQ.")]
#[case::persistent_id_of_a_class(b"(X\x07\0\0\0storagectorch.nn\nModule\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ.")]
#[case::persistent_id_with_a_negative_size(b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuJ\xff\xff\xff\xfftQ.")]
#[case::out_of_band_buffer(b"\x97.")]
#[case::keyword_object(b"ctorch.nn\nModule\n)}\x92.")]
#[case::object_of_text(b"X\x01\0\0\0a)\x81.")]
#[case::object_with_arguments(b"ctorch.nn\nModule\n(K\x01t\x81.")]
#[case::call_of_a_class(b"ctorch.nn\nModule\n(K\x01tR.")]
#[case::call_of_a_type(b"c__builtin__\nlist\n(K\x01tR.")]
#[case::reconstruction_of_a_type(b"ccopyreg\n_reconstructor\n(ctorch.nn\nModule\nc__builtin__\nobject\nK\x01tR.")]
#[case::arguments_without_a_tuple(b"ccollections\nOrderedDict\n]R.")]
#[case::filled_ordered_dict(b"ccollections\nOrderedDict\n(]tR.")]
#[case::frame_over_the_end(b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.")]
#[case::text_of_4_gib(b"X\xff\xff\xff\xff.")]
#[case::text_of_2_to_63(b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.")]
#[case::bytes_of_2_to_63(b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.")]
#[case::bytearray_of_2_to_63(b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f.")]
#[case::integer_of_2_gib(b"\x8b\xff\xff\xff\x7f.")]
#[case::integer_of_a_negative_length(b"\x8b\xff\xff\xff\xff.")]
#[case::decimal_integer(b"I99999999999999999999999999\n.")]
#[case::endless_line(b"cos")]
#[case::text_that_is_not_utf8(b"X\x02\0\0\0\xff\xfe.")]
#[case::memo_out_of_thin_air(b"j\xff\xff\xff\xff.")]
fn an_odd_opcode_is_refused(#[case] pickle: &[u8]) {
    refused_pickle(pickle.to_vec());
}

#[rstest]
#[case::past_the_end(&[5], &[1], 0, "past the end")]
#[case::offset_past_the_end(&[2], &[1], 3, "past the end")]
#[case::offset_below_zero(&[2], &[1], -1, "below zero")]
#[case::stride_past_the_end(&[2, 2], &[4, 1], 0, "past the end")]
#[case::negative_stride(&[2], &[-1], 0, "below zero")]
#[case::negative_side(&[-1], &[1], 0, "below zero")]
#[case::lengths_differ(&[2], &[1, 1], 0, "different lengths")]
#[case::a_side_of_2_to_31_repeated(&[i32::MAX], &[0], 0, "values of all tensors")]
#[case::more_than_can_be_counted(&[i32::MAX, i32::MAX, i32::MAX], &[0, 0, 0], 0, "counted")]
#[case::steps_that_overflow(&[4, 4, 4], &[i32::MAX, i32::MAX, i32::MAX], 0, "past the end")]
#[case::nine_dimensions(&[1; 9], &[1; 9], 0, "dimensions")]
fn a_tensor_that_does_not_fit_is_refused(#[case] shape: &[i32], #[case] strides: &[i32], #[case] offset: i32, #[case] words: &str) {
    let pickle = Pickle::new().dict(|pickle| pickle.text("a").tensor("FloatStorage", "0", 4, offset, shape, strides)).stop();
    let found = refused_pickle(pickle);
    assert!(found.contains(words), "{found}");
}

#[test]
fn a_storage_that_is_not_there_or_too_short_is_refused() {
    for (class, key, numbers) in
        [("FloatStorage", "1", 4), ("FloatStorage", "../data.pkl", 4), ("FloatStorage", "0", 5), ("DoubleStorage", "0", i32::MAX)]
    {
        let pickle = Pickle::new().dict(|pickle| pickle.text("a").tensor(class, key, numbers, 0, &[1], &[1])).stop();
        let words = refused_pickle(pickle);
        assert!(words.contains("missing") || words.contains("fewer"), "{words}");
    }
}

#[test]
fn many_views_of_one_number_do_not_become_memory() {
    // 1,000 tensors of a million values each, all of them one stored number
    let entries = |pickle| {
        (0..1000)
            .fold(pickle, |pickle: Pickle, number| pickle.text(&number.to_string()).tensor("FloatStorage", "0", 4, 0, &[1_000_000], &[0]))
    };
    assert!(refused_pickle(Pickle::new().dict(entries).stop()).contains("values of all tensors"));
}

#[test]
fn two_tensors_of_one_name_are_refused() {
    let tensor = |pickle: Pickle| pickle.text("a").tensor("FloatStorage", "0", 4, 0, &[4], &[1]);
    assert!(refused_pickle(Pickle::new().dict(|pickle| tensor(tensor(pickle))).stop()).contains("two of this name"));
}

/// Each line uses the one before it twice: 2⁴⁰ leaves if anybody followed them all.
#[test]
fn sharing_that_doubles_forty_times_is_refused() {
    let mut lists = Pickle::new().raw(b"]q\0");
    for level in 0..40_u8 {
        lists = lists.raw(b"0](").raw([b'h', level, b'h', level]).raw(b"e").raw([b'q', level + 1]);
    }
    assert!(refused_pickle(lists.clone().stop()).contains("a list"));
    // the same, where weights are looked for
    let inside = Pickle::new().raw(b"}").text("model").raw(&lists.0[2..]).raw(b"s").stop();
    assert!(refused_pickle(inside).contains("is a list"));
    // modules, each with the one before it as two of its parts
    let module = |pickle: Pickle, child: Option<u8>| {
        pickle.object("torch.nn.modules.container", "Sequential", |pickle| {
            let pickle = pickle.text("_parameters").raw(b"}").text("_buffers").raw(b"}").text("_modules");
            pickle.dict(|pickle| match child {
                Some(child) => pickle.text("0").raw([b'h', child]).text("1").raw([b'h', child]),
                None => pickle,
            })
        })
    };
    let mut modules = module(Pickle::new(), None).raw(b"q\0");
    for level in 0..28 {
        modules = module(modules, Some(level)).raw([b'q', level + 1]);
    }
    assert!(refused_pickle(modules.stop()).contains("parts of modules"));
}

#[test]
fn modules_that_contain_themselves_or_nest_too_deeply_are_refused() {
    let open = |pickle: Pickle| {
        let pickle = pickle.global("torch.nn.modules.container", "Sequential").raw(b")\x81q\0}(");
        pickle.text("_parameters").raw(b"}").text("_buffers").raw(b"}").text("_modules").raw(b"}").text("0")
    };
    let own_part = open(Pickle::new()).raw(b"h\0sub").stop();
    assert!(refused_pickle(own_part).contains("modules inside modules"));
    let deep = (0..10_000).fold(Pickle::new(), |pickle, _| open(pickle)).raw(b"N");
    let deep = (0..10_000).fold(deep, |pickle, _| pickle.raw(b"sub")).stop();
    assert!(refused_pickle(deep).contains("modules inside modules"));
}

/// One class again and again, its name of this length taken from the memo each time.
fn stack_globals(len: usize) -> Vec<u8> {
    let module = format!("{:x<len$}", "torch.nn.");
    let mut pickle = Pickle::new().text(&module).raw(b"q\0").text(&"a".repeat(len)).raw(b"q\x01").0;
    pickle[1] = 4;
    pickle.extend(b"h\0h\x01\x93".repeat(300_000));
    pickle
}

#[test]
fn nesting_and_repetition_end_at_the_steps() {
    for (what, pickle) in [
        ("tuples in tuples", [b")".to_vec(), [0x85].repeat(900_000)].concat()),
        ("lists in lists", [b"]".repeat(450_000), b"a".repeat(449_999)].concat()),
        ("dicts", b"}".repeat(2_000_000)),
        ("marks", b"(".repeat(2_000_000)),
        ("a text again and again", [b"X\0\x10\0\0".to_vec(), vec![b'a'; 4096], b"q\0".to_vec(), b"h\0".repeat(2_000_000)].concat()),
        ("texts", b"X\0\0\0\0".repeat(2_000_000)),
        (
            "memos",
            (0..400_000_u32).flat_map(|slot| [&b"r"[..], &(slot * 7919).to_le_bytes()].concat()).fold(b"}".to_vec(), |mut all, byte| {
                all.push(byte);
                all
            }),
        ),
        ("objects", b"ctorch.nn\nModule\nq\0".iter().copied().chain(b"h\0)\x81".repeat(300_000)).collect()),
        ("a class of a long name", stack_globals(60_000)),
        ("a class of a short name", stack_globals(128)),
        ("classes", b"ctorch.nn\nModule\n".repeat(500_000)),
    ] {
        let words = refused_pickle([&pickle[..], b"."].concat());
        assert!(!words.is_empty(), "{what}");
    }
    // more pickle than any checkpoint has
    assert!(refused_pickle(b"N0".repeat(10 << 20)).contains("bytes of pickle"));
}
