//! What is there, as kube-apiserver's debugging pages show it: rows of columns with commas between them, aligned.

use crate::levels::Levels;
use crate::queueset::{Details, Row, Waiter};
use crate::work::shown;
use std::time::Duration;

const LEVELS: &str = "PriorityLevelName,ActiveQueues,IsIdle,IsQuiescing,WaitingRequests,ExecutingRequests,\
                      DispatchedRequests,RejectedRequests,TimedoutRequests,CancelledRequests";
const QUEUES: &str = "PriorityLevelName,Index,PendingRequests,ExecutingRequests,SeatsInUse,NextDispatchR,InitialSeatsSum,\
                      MaxSeatsSum,TotalWorkSum";
const REQUESTS: &str = "PriorityLevelName,FlowSchemaName,QueueIndex,RequestIndexInQueue,FlowDistingsher,ArriveTime,\
                        InitialSeats,FinalSeats,AdditionalLatency,StartTime";
const DETAILS: &str = "UserName,Verb,APIPath,Namespace,Name,APIVersion,Resource,SubResource";

/// One row a level.
#[must_use]
pub fn dump_levels<W: Waiter>(all: &Levels<W>) -> String {
    let mut rows = vec![words(LEVELS)];
    for (name, state) in &all.states {
        let set = state.level.lock();
        let totals = set.totals();
        let active = set.queues().iter().filter(|queue| queue.waiting > 0).count();
        let mut row = vec![name.clone(), active.to_string(), set.is_idle().to_string(), state.is_leaving.to_string()];
        let counts = [totals.waiting as u64, totals.executing as u64, totals.dispatched, totals.rejected, 0];
        row.extend(counts.map(|count| count.to_string()));
        row.push(totals.cancelled.to_string());
        rows.push(row);
    }
    aligned(&rows)
}

/// One row a queue.
#[must_use]
pub fn dump_queues<W: Waiter>(all: &Levels<W>) -> String {
    let mut rows = vec![words(QUEUES)];
    for (name, state) in &all.states {
        for (index, queue) in state.level.lock().queues().iter().enumerate() {
            let mut row = vec![name.clone()];
            row.extend([index, queue.waiting, queue.executing, queue.seats as usize].map(|number| number.to_string()));
            row.push(shown(queue.next));
            row.extend([queue.initial_seats_waiting, queue.seats_waiting].map(|seats| seats.to_string()));
            row.push(shown(queue.work_waiting));
            rows.push(row);
        }
    }
    aligned(&rows)
}

/// One row a request; `clock` writes a time.
#[must_use]
pub fn dump_requests<W: Waiter>(all: &Levels<W>, details: bool, clock: impl Fn(Duration) -> String) -> String {
    let mut header = words(REQUESTS);
    if details {
        header.extend(words(DETAILS));
    }
    let mut rows = vec![header];
    for (name, state) in &all.states {
        let requests = state.level.lock().requests();
        rows.extend(requests.into_iter().map(|request| request_row(name, request, details, &clock)));
    }
    aligned(&rows)
}

fn request_row(level: &str, request: Row, details: bool, clock: impl Fn(Duration) -> String) -> Vec<String> {
    let index = |index: Option<usize>| index.map_or("-1".to_owned(), |index| index.to_string());
    let about = request.details.unwrap_or_default();
    // Go's time zero says that it has not begun.
    let started = request.started.map_or("0001-01-01T00:00:00Z".to_owned(), &clock);
    let mut row = vec![
        level.to_owned(),
        request.schema,
        index(request.queue),
        index(request.place),
        about.distinguisher.clone(),
        clock(request.arrived),
        request.work.initial_seats.to_string(),
        request.work.final_seats.to_string(),
        format!("{}s", request.work.latency.as_secs_f64()),
        started,
    ];
    if details {
        let Details { user, verb, path, namespace, name, api_version, resource, part, .. } = about;
        row.extend([user, verb, path, namespace, name, api_version, resource, part]);
    }
    row
}

fn words(header: &str) -> Vec<String> {
    header.split(',').map(str::to_owned).collect()
}

/// Columns as wide as their widest word and a space, each word but the last of a row with a comma.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|word| word.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in rows {
        for (column, word) in row.iter().enumerate() {
            let is_last = column + 1 == row.len();
            let room = if is_last { 0 } else { (widths[column] + 2).max(8) };
            let word = if is_last { word.clone() } else { format!("{word},") };
            text.push_str(&format!("{word:room$}"));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["A".to_owned(), "B".to_owned()], vec!["longer name".to_owned(), String::new()]];
        assert_eq!(aligned(&rows), "A,           B\nlonger name, \n");
    }
}
