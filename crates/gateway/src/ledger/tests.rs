use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::fixture::encryption;

fn ledger(dir: &tempfile::TempDir, budget: Option<u64>) -> Result<Ledger, Error> {
    Ledger::open(dir.path().join("a/state.json"), &encryption().1, budget)
}

fn on_disk(dir: &tempfile::TempDir, epoch: u32) -> u64 {
    let text = fs::read_to_string(dir.path().join("a/state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&text).unwrap();
    state["tokens"][epoch.to_string()].as_u64().unwrap()
}

#[tokio::test]
async fn counts_outlive_the_process_and_are_exact_when_it_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let first = ledger(&dir, Some(10_000)).unwrap();
    assert_eq!(first.spent(3), 0);
    first.send(3, 40).await.unwrap();
    for _ in 0..300 {
        assert!(first.receive(3, 1).await.unwrap());
        // Ahead of what went out, and not by much.
        let ahead = on_disk(&dir, 3).checked_sub(first.spent(3)).unwrap();
        assert!(ahead <= 200, "{ahead}");
    }
    first.send(4, 5).await.unwrap();
    assert_eq!((first.spent(3), first.spent(4)), (340, 5));
    drop(first);
    assert_eq!((on_disk(&dir, 3), on_disk(&dir, 4)), (340, 5));
    let second = ledger(&dir, Some(10_000)).unwrap();
    assert_eq!((second.spent(3), second.spent(4)), (340, 5));
    let path = dir.path().join("a/state.json");
    let mode = fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_process_that_is_killed_has_counted_enough() {
    let dir = tempfile::tempdir().unwrap();
    let killed = ledger(&dir, None).unwrap();
    killed.send(0, 4321).await.unwrap();
    killed.receive(0, 99).await.unwrap();
    std::mem::forget(killed);
    let spent = ledger(&dir, None).unwrap().spent(0);
    assert!((4420..=4420 + 2000).contains(&spent), "{spent}");
}

#[tokio::test]
async fn the_counts_of_two_processes_add_up() {
    let dir = tempfile::tempdir().unwrap();
    let both = [ledger(&dir, None).unwrap(), ledger(&dir, None).unwrap()];
    for turn in 0..60 {
        let (a, b) = tokio::join!(both[0].send(1, 100), both[1].receive(1, turn));
        assert!(a.is_ok() && b.unwrap());
    }
    drop(both);
    assert_eq!(on_disk(&dir, 1), 6000 + (0..60).sum::<usize>() as u64);
}

#[tokio::test]
async fn prompts_stay_within_the_budget_and_answers_pass_it_by_a_tenth() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(&dir, Some(100)).unwrap();
    ledger.send(0, 90).await.unwrap();
    let error = ledger.send(0, 10).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Budget {
                epoch: 0,
                spent: 90,
                asked: 10,
                budget: 100
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("equicrypt rekey"), "{error}");
    assert!(ledger.receive(0, 19).await.unwrap());
    assert!(!ledger.receive(0, 1).await.unwrap());
    // Another epoch has a budget of its own.
    ledger.send(1, 90).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_believed_is_never_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/state.json");
    ledger(&dir, None).unwrap().send(0, 7).await.unwrap();
    let good = fs::read_to_string(&path).unwrap();
    let other_key = good.replace("\"key_id\": \"", "\"key_id\": \"00");
    for (text, words) in [
        (&good[..good.len() - 9], "damaged"),
        ("", "damaged"),
        (&other_key, "damaged"),
        (
            &good.replace("abab", "cdcd").replace("0101", "0202"),
            "another key or model",
        ),
        (&good.replace(": 7", ": -7"), "damaged"),
        (
            &good.replace("\"format_version\": 1", "\"format_version\": 2"),
            "format_version 2",
        ),
    ] {
        fs::write(&path, text).unwrap();
        let message = ledger(&dir, None).err().unwrap().to_string();
        assert!(
            message.contains("state.json") && message.contains(words),
            "{message}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    // Nor while it runs.
    fs::write(&path, &good).unwrap();
    let ledger = ledger(&dir, None).unwrap();
    fs::remove_file(&path).unwrap();
    let message = ledger.send(0, 1).await.unwrap_err().to_string();
    assert!(message.contains("is gone"), "{message}");
    assert_eq!(ledger.spent(0), 7);
}

#[test]
fn more_homophones_have_more_room() {
    let mut before = 0;
    for (homophones, tokens) in BUDGETS.iter().rev() {
        assert!(*tokens > before);
        assert_eq!(default_budget(*homophones), *tokens);
        assert_eq!(
            default_budget(homophones.saturating_sub(1)),
            before.max(BUDGETS[BUDGETS.len() - 1].1)
        );
        before = *tokens;
    }
    assert_eq!(default_budget(usize::MAX), BUDGETS[0].1);
}
