//! The gate's verdicts: tables here, many candidates in simulation.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;

use clap::Parser;
use edgeloop_store::{Decision, GateDecision, GateRecord, Metadata};

use super::*;
use simulation::{Look, World};

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    gate: Gate,
}

fn gate(more: &[&str]) -> Gate {
    Program::try_parse_from(["test"].iter().chain(more)).unwrap().gate
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn version(number: usize) -> Version {
    format!("20261121_03{:02}{:02}", number / 60, number % 60).parse().unwrap()
}

fn first(map50: f64) -> Verdict {
    let ranking = World::new(1, 4, 1).judged(&Look::default());
    gate(&[]).decide(&Candidate { classes: &names(&["bolt"]), map50, ranking: &ranking }, &Field::default(), 1)
}

#[test]
fn the_first_model_needs_the_minimum() {
    assert!(first(0.1).promotes());
    assert!(!first(0.099).promotes());
    assert!(!first(f64::NAN).promotes());
}

/// A candidate of `new` skill beside a promoted one of `old` skill; `classes` by the number that the world has for them.
fn meet(gate: &Gate, world: &World, classes: &[&str], old: &Look, old_classes: &[&str], new: &Look) -> Verdict {
    let (ranking, old) = (world.judged(new), world.judged(old));
    let rival = Rival { version: version(0), role: RivalRole::Promoted, classes: names(old_classes), ranking: old };
    let field = Field { rivals: vec![rival], absent: Vec::new() };
    gate.decide(&Candidate { classes: &names(classes), map50: 0.5, ranking: &ranking }, &field, 2)
}

#[test]
fn the_same_model_passes_and_a_blind_one_does_not() {
    let world = World::new(3, 60, 2);
    let (same, classes) = (Look { seed: 7, ..Look::default() }, ["bolt", "nut"]);
    let verdict = meet(&gate(&[]), &world, &classes, &same, &classes, &same);
    assert!(verdict.promotes());
    let [compared] = &verdict.comparisons[..] else { panic!("one rival") };
    assert_eq!((compared.overall.drop(), compared.overall.confidence, compared.images), (0.0, 0.0, 60));

    let blind = Look { skill: -50.0, ..same.clone() };
    let verdict = meet(&gate(&[]), &world, &classes, &same, &classes, &blind);
    let Decision::Reject { reason } = &verdict.decision else { panic!("{verdict:?}") };
    assert!(reason.contains("mAP50-95 fell to 0.000 from the 0.") && reason.contains("20261121_030000"), "{reason}");
    assert!(reason.contains("AP50-95 of bolt"), "{reason}");
}

#[test]
fn one_class_alone_can_reject() {
    let world = World::new(4, 150, 5);
    let classes = ["a", "b", "c", "d", "e"];
    let old = Look { seed: 1, ..Look::default() };
    // A fifth of the mean: 0.01 · 5 = 0.05 would pass the whole; in the class it is too much.
    let new = Look { seed: 1, worse_in: Some((2, 1.0)), ..Look::default() };
    let verdict = meet(&gate(&["--gate-max-drop", "0.5"]), &world, &classes, &old, &classes, &new);
    let Decision::Reject { reason } = &verdict.decision else { panic!("{verdict:?}") };
    assert!(reason.starts_with("AP50-95 of c fell"), "{reason}");
    let fewer = gate(&["--gate-max-drop", "0.5", "--gate-min-class-boxes", "100000"]);
    let verdict = meet(&fewer, &world, &classes, &old, &classes, &new);
    assert!(verdict.promotes() && verdict.comparisons[0].per_class.is_empty());
}

#[test]
fn classes_are_compared_by_name_where_both_know_them() {
    let world = World::new(5, 60, 3);
    let (old, new) = (Look { seed: 1, ..Look::default() }, Look { seed: 2, ..Look::default() });
    let verdict = meet(&gate(&[]), &world, &["bolt", "nut", "washer"], &old, &["nut", "bolt", "gear"], &new);
    let [compared] = &verdict.comparisons[..] else { panic!("one rival") };
    assert_eq!((compared.new_classes.as_slice(), compared.gone_classes.as_slice()), (&names(&["washer"])[..], &names(&["gear"])[..]));
    assert!(compared.per_class.iter().all(|figure| figure.name != "washer"), "{compared:?}");
    assert!(verdict.decision.reason().contains("over the classes that both know"), "{}", verdict.decision.reason());

    // None at all: as the first model.
    let verdict = meet(&gate(&[]), &world, &["bolt", "nut", "washer"], &old, &["gear"], &new);
    assert!(verdict.promotes() && verdict.comparisons.is_empty());
    assert!(verdict.decision.reason().contains("knows none of the classes"), "{}", verdict.decision.reason());
}

#[test]
fn a_rival_that_cannot_be_judged_is_named() {
    let ranking = World::new(1, 4, 1).judged(&Look::default());
    let field = Field { rivals: Vec::new(), absent: vec![(version(9), "its weights are damaged".to_owned())] };
    let verdict = gate(&[]).decide(&Candidate { classes: &names(&["bolt"]), map50: 0.2, ranking: &ranking }, &field, 1);
    assert!(verdict.promotes() && verdict.decision.reason().contains("20261121_030009 cannot be compared with: its weights are damaged"));
}

#[test]
fn threads_do_not_change_the_verdict() {
    let world = World::new(6, 80, 3);
    let (old, new) = (Look { seed: 1, ..Look::default() }, Look { seed: 2, skill: -0.2, ..Look::default() });
    let (ranking, rival) = (world.judged(&new), world.judged(&old));
    let pair = bootstrap::Paired { ranking: &rival, classes: &[0, 1, 2], max_drop: 0.01, max_class_drop: 0.05 };
    let one = bootstrap::exceeded(&ranking, std::slice::from_ref(&pair), 101, 1);
    assert!(one[0].overall > 0 && one[0].overall < 101, "{one:?}");
    for threads in [2, 3, 200] {
        assert_eq!(bootstrap::exceeded(&ranking, std::slice::from_ref(&pair), 101, threads), one);
    }
}

#[test]
fn force_is_a_flag_with_or_without_a_reason() {
    for off in [&[][..], &["--force-promote=false"], &["--force-promote="]] {
        assert_eq!(gate(off).force_promote.reason(), None, "{off:?}");
    }
    assert_eq!(gate(&["--force-promote"]).force_promote.reason(), Some("no reason given"));
    assert_eq!(gate(&["--force-promote=it sees washers"]).force_promote.reason(), Some("it sees washers"));
}

#[test]
fn limits_that_make_no_sense_are_named() {
    gate(&[]).check().unwrap();
    gate(&["--gate-max-drop", "-2"]).check().unwrap();
    for wrong in ["--gate-confidence=1", "--gate-max-drop=7", "--gate-min-map50=-1", "--gate-max-class-drop=NaN"] {
        assert!(gate(&[wrong]).check().unwrap_err().contains("GATE_"), "{wrong}");
    }
}

/// Version `number`, with its own figure, and what it was compared with: version and difference.
fn served(number: usize, map50_95: f64, compared: Option<(usize, f64)>) -> Metadata {
    let gate = GateRecord {
        decision: GateDecision::Promoted,
        reason: String::new(),
        compared_with: None,
        comparisons: compared.map(|(rival, better)| simulation::comparison(version(rival), better)).into_iter().collect(),
        forced: None,
    };
    simulation::metadata(version(number), map50_95, gate)
}

#[test]
fn the_best_of_those_that_served_is_told_by_differences_on_the_same_images() {
    // Val became harder between 1 and 2: 0.70 then is less than 0.60 now. 3 is the best, 4 and 5 fell behind it.
    let lineage = [
        served(5, 0.59, Some((4, -0.01))),
        served(4, 0.60, Some((3, -0.01))),
        served(3, 0.61, Some((2, 0.01))),
        served(2, 0.60, Some((1, 0.05))),
        served(1, 0.70, None),
    ];
    assert_eq!(best(&lineage).unwrap().version, version(3));
    // The one that serves is the best: nobody else need be asked.
    assert_eq!(best(&lineage[2..]), None);
    assert_eq!((best(&lineage[4..]), best(&[])), (None, None));
}

#[test]
fn only_the_last_ten_count() {
    let mut lineage: Vec<Metadata> = (1..=11).rev().map(|number| served(number, 0.5 - 0.01 * number as f64, None)).collect();
    assert_eq!(best(&lineage).unwrap().version, version(2));
    lineage.truncate(2);
    assert_eq!(best(&lineage).unwrap().version, version(10));
}
