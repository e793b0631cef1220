//! Tokens, and what they open: which version serves, moved over HTTP.

use std::fs;
use std::path::Path;

use edgeloop_store::Store;
use serde_json::{Value, json};

use crate::support::*;

const CAMERA: &str = "camera-token-0001";
const OPERATOR: &str = "operator-token-01";

struct Site {
    dir: tempfile::TempDir,
    store: Store,
    inferer: Inferer,
}

impl Site {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let models = dir.path().join("models");
        let store = Store::create(&models).unwrap();
        write_tokens(dir.path(), &format!("cam infer {CAMERA}\nops infer,admin {OPERATOR}\n"));
        let path = dir.path().join("tokens");
        let inferer = Inferer::start(&models, &["--inference-folder", "false", "--auth-tokens-file", path.to_str().unwrap()]);
        Self { dir, store, inferer }
    }

    fn send(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> (u16, Value) {
        send(&self.inferer, method, path, token, body)
    }

    fn wait_until_serving(&self, version: &str) {
        wait_for("the version in service", || {
            let (status, model) = self.send("GET", "/v1/model", Some(CAMERA), "");
            (status == 200 && model["version"] == version).then_some(())
        });
    }
}

fn write_tokens(dir: &Path, text: &str) {
    fs::write(dir.join("tokens.new"), text).unwrap();
    fs::rename(dir.join("tokens.new"), dir.join("tokens")).unwrap();
}

fn send(inferer: &Inferer, method: &str, path: &str, token: Option<&str>, body: &str) -> (u16, Value) {
    let mut request = ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", inferer.serving));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut response = if method == "GET" {
        inferer.agent.run(request.body(()).unwrap()).unwrap()
    } else {
        inferer.agent.run(request.body(body.to_owned()).unwrap()).unwrap()
    };
    let text = response.body_mut().read_to_string().unwrap();
    (response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn kind(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["error"].as_str().unwrap_or_else(|| panic!("{}", answer.1)))
}

#[test]
fn versions_are_listed_promoted_and_rolled_back_with_the_right_token() {
    let site = Site::start();
    let [first, second] = [0.5, 0.6].map(|sign| publish(&site.store, sign).version);
    site.wait_until_serving(second.as_str());
    let (status, list) = site.send("GET", "/v1/models", Some(CAMERA), "");
    assert_eq!(status, 200, "{list}");
    let of = |name: &str| list["models"].as_array().unwrap().iter().map(|m| m[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("version"), [json!(second), json!(first)]);
    assert_eq!((of("serving"), of("promoted")), (vec![json!(true), json!(false)], vec![json!(true), json!(false)]));

    let promote = format!("/v1/models/{first}/promote");
    assert_eq!(kind(&site.send("POST", &promote, None, "")), (401, "token_missing"));
    assert_eq!(kind(&site.send("POST", &promote, Some("somebody-elses-token"), "")), (401, "token_unknown"));
    assert_eq!(kind(&site.send("POST", &promote, Some(CAMERA), "")), (403, "scope_missing"));
    assert_eq!(site.store.pointer().unwrap().unwrap().version(), &second, "it moved without a right to it");
    assert!(site.inferer.metric("edgeloop_auth_refused_total", "scope") >= 1.0);

    let (status, moved) = site.send("POST", &promote, Some(OPERATOR), r#"{"reason": "misses washers"}"#);
    assert_eq!((status, &moved["promoted"], &moved["by"], &moved["reason"]), (200, &json!(first), &json!("ops"), &json!("misses washers")));
    site.wait_until_serving(first.as_str());
    let (status, moved) = site.send("POST", "/v1/rollback", Some(OPERATOR), "");
    assert_eq!((status, &moved["promoted"]), (200, &json!(second)), "{moved}");
    site.wait_until_serving(second.as_str());
    assert_eq!(site.store.pointer().unwrap().unwrap().promoted_by, "ops");
}

#[test]
fn what_cannot_be_promoted_is_a_4xx_that_says_why() {
    let site = Site::start();
    let version = publish(&site.store, 0.5).version;
    let ask = |path: &str, body: &str| site.send("POST", path, Some(OPERATOR), body);
    assert_eq!(kind(&ask("/v1/models/20200101_000000/promote", "")), (404, "unknown_version"));
    for bad in ["x", "..%2f..%2fetc", "%ff", "latest"] {
        assert_eq!(kind(&ask(&format!("/v1/models/{bad}/promote"), "")), (400, "bad_version"), "{bad}");
    }
    let promote = format!("/v1/models/{version}/promote");
    for body in ["{", "[1]", r#"{"forec": true}"#, "\u{1}"] {
        assert_eq!(kind(&ask(&promote, body)), (400, "bad_json"), "{body}");
    }
    assert_eq!(ask(&promote, "null").0, 200);
    assert_eq!(kind(&ask("/v1/rollback", "")), (409, "no_predecessor"));
    assert_eq!(kind(&ask("/v1/rollback", &"x".repeat(70_000))), (413, "body_too_large"));
    assert_eq!(kind(&site.send("GET", &promote, Some(OPERATOR), "")), (405, "method_not_allowed"));
}

#[test]
fn a_changed_file_of_tokens_counts_within_seconds_and_a_broken_one_does_not() {
    let site = Site::start();
    publish(&site.store, 0.5);
    wait_for("a model", || (site.send("GET", "/v1/model", Some(CAMERA), "").0 == 200).then_some(()));
    write_tokens(site.dir.path(), "cam infer camera-token-0002\n");
    wait_for("the new token", || (site.send("GET", "/v1/model", Some("camera-token-0002"), "").0 == 200).then_some(()));
    assert_eq!(kind(&site.send("GET", "/v1/model", Some(CAMERA), "")), (401, "token_unknown"));
    assert_eq!(kind(&site.send("POST", "/v1/rollback", Some(OPERATOR), "")), (401, "token_unknown"));
    // Open to whoever wants to know how to ask.
    assert_eq!((site.send("GET", "/docs", None, "").0, site.send("GET", "/openapi.json", None, "").0), (200, 200));
    assert_eq!(kind(&site.send("POST", "/infer", None, "x")), (401, "token_missing"));
}

#[test]
fn without_a_file_of_tokens_the_admin_calls_are_closed_and_the_rest_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let [_, second] = [0.5, 0.6].map(|sign| publish(&store, sign).version);
    let inferer = Inferer::ready(dir.path(), &["--inference-folder", "false"]);
    assert_eq!(kind(&send(&inferer, "POST", "/v1/rollback", None, "")), (403, "admin_closed"));
    assert_eq!(kind(&send(&inferer, "POST", "/v1/rollback", Some(OPERATOR), "")), (403, "admin_closed"));
    assert_eq!(send(&inferer, "GET", "/v1/models", None, "").0, 200);
    assert_eq!(store.pointer().unwrap().unwrap().version(), &second);
}

#[test]
fn a_store_that_cannot_be_written_says_so_and_goes_on_serving() {
    let site = Site::start();
    let [first, second] = [0.5, 0.6].map(|sign| publish(&site.store, sign).version);
    site.wait_until_serving(second.as_str());
    let mount = ReadOnly::over(&site.dir.path().join("models"));
    let answer = site.send("POST", &format!("/v1/models/{first}/promote"), Some(OPERATOR), "");
    if mount.is_some() {
        assert_eq!(kind(&answer), (409, "store_read_only"));
        assert!(answer.1["message"].as_str().unwrap().contains("edgeloop models"), "{}", answer.1);
        assert_eq!(kind(&site.send("POST", "/v1/rollback", Some(OPERATOR), "")), (409, "store_read_only"));
        site.wait_until_serving(second.as_str());
    }
}

/// A folder mounted over itself, read-only. Where tests may not mount, this is said and nothing is tested.
struct ReadOnly(std::ffi::CString);

impl ReadOnly {
    fn over(folder: &Path) -> Option<Self> {
        let path = std::ffi::CString::new(folder.to_str().unwrap()).unwrap();
        // SAFETY: the string is NUL-terminated and lives until the calls return; the other pointers may be null.
        let result = unsafe {
            let none = std::ptr::null();
            let bound = libc::mount(path.as_ptr(), path.as_ptr(), none, libc::MS_BIND, std::ptr::null());
            if bound == 0 {
                libc::mount(none, path.as_ptr(), none, libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY, std::ptr::null())
            } else {
                bound
            }
        };
        if result != 0 {
            eprintln!("not tested: no right to mount ({})", std::io::Error::last_os_error());
            return None;
        }
        Some(Self(path))
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { libc::umount2(self.0.as_ptr(), libc::MNT_DETACH) };
    }
}
