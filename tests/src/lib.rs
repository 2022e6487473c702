//! The test harness: leak detector, peers, nodes in boxes.
