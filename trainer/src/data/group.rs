//! Which camera or day an image belongs to, as far as its name tells.
//!
//! Neighbouring frames of one camera look alike: one in train and the next in val would make val worthless. The rule looks
//! at one name alone, never at the other files, so that an image's group cannot change as the folder grows. And it takes only
//! words that name a source or a day: a folder called `nuts` may hold all of a class, and a split by it would leave the class out.

use std::path::Path;

/// Words before a number or a name that tell a source (`cam1`, `camera_left`) or a recording (`session-3`).
const SOURCES: [&str; 15] =
    ["cam", "camera", "cctv", "line", "station", "device", "site", "day", "session", "video", "vid", "clip", "seq", "sequence", "run"];

/// The group that a path (relative to the images folder) names, such as `cam1/20261120`.
pub fn key(relative: &Path) -> Option<String> {
    let mut parts = Vec::new();
    let names = relative.parent().into_iter().flat_map(Path::components).map(|part| part.as_os_str());
    for name in names.chain(relative.file_stem()) {
        for part in named(&name.to_string_lossy().to_lowercase()) {
            // A day in the folder and again in the file name is one day.
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

fn named(name: &str) -> Vec<String> {
    let tokens: Vec<&str> = name.split(|c: char| !c.is_alphanumeric()).filter(|token| !token.is_empty()).collect();
    let mut parts = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let rest = &tokens[at..];
        if let Some(day) = compact_day(rest[0]) {
            parts.push(day);
            at += 1;
        } else if let Some(day) = spelled_day(rest) {
            parts.push(day);
            at += 3;
        } else if let Some((part, used)) = source(rest) {
            parts.push(part);
            at += used;
        } else {
            at += 1;
        }
    }
    parts
}

/// `20261120`, `20261120143005`, `20261120t143005`.
fn compact_day(token: &str) -> Option<String> {
    let digits = token.bytes().take_while(u8::is_ascii_digit).count();
    let day = token.get(..8).filter(|_| digits == 8 || digits >= 12)?;
    is_day(&day[..4], &day[4..6], &day[6..]).then(|| day.to_owned())
}

/// `2026-11-20`.
fn spelled_day(tokens: &[&str]) -> Option<String> {
    let [year, month, day] = *tokens.first_chunk::<3>()?;
    // `20T143005` after the last dash: the day, then the time.
    let day = day.get(..2).filter(|_| day.len() == 2 || day.as_bytes()[2] == b't')?;
    (year.len() == 4 && month.len() == 2 && is_day(year, month, day)).then(|| format!("{year}{month}{day}"))
}

fn is_day(year: &str, month: &str, day: &str) -> bool {
    let within = |text: &str, low: u32, high: u32| text.parse::<u32>().is_ok_and(|number| (low..=high).contains(&number));
    within(year, 1990, 2099) && within(month, 1, 12) && within(day, 1, 31)
}

/// `cam1`, or `cam` and the word after it.
fn source(tokens: &[&str]) -> Option<(String, usize)> {
    let token = tokens[0];
    let word = token.trim_end_matches(|c: char| c.is_ascii_digit());
    if !SOURCES.contains(&word) {
        return None;
    }
    if word.len() < token.len() {
        return Some((token.to_owned(), 1));
    }
    let next = tokens.get(1)?;
    Some((format!("{token}{next}"), 2))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::counter("frame_0001.jpg", None)]
    #[case::class_folder("nuts/0001.jpg", None)]
    #[case::camera_with_number("cam1_0001.jpg", Some("cam1"))]
    #[case::camera_and_word("camera-left-0001.jpg", Some("cameraleft"))]
    #[case::day("IMG_20261120_143005.jpg", Some("20261120"))]
    #[case::spelled_day("2026-11-20 shot 7.jpg", Some("20261120"))]
    #[case::iso_time("2026-11-20T14-30-05Z.jpg", Some("20261120"))]
    #[case::seconds_since_1970("1763649000.jpg", None)]
    #[case::thirteenth_month("20261320_1.jpg", None)]
    #[case::folders("Cam2/2026-11-20/0001.jpg", Some("cam2/20261120"))]
    #[case::same_day_twice("cam2/2026-11-20/20261120_0001.jpg", Some("cam2/20261120"))]
    #[case::word_within_a_word("camshaft_0001.jpg", None)]
    #[case::source_word_alone("camera.jpg", None)]
    #[case::not_ascii("été_20261120.jpg", Some("20261120"))]
    fn a_name_tells_its_group(#[case] path: &str, #[case] group: Option<&str>) {
        assert_eq!(key(Path::new(path)).as_deref(), group);
    }

    proptest::proptest! {
        #[test]
        fn any_name_is_taken(path in "\\PC{0,40}") {
            let _ = key(Path::new(&path));
        }
    }
}
