//! What is wrong, or merely unusual, with a broker.

/// What the harness should say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A contract is broken: it should be blamed.
    Bug,
    /// The contract says so truthfully: it must not be blamed.
    Correct,
}

macro_rules! quirks {
    ($($variant:ident $kind:ident $home:ident $what:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Quirk {
            $(#[doc = $what] $variant,)*
        }

        impl Quirk {
            pub(crate) const ALL: &[Quirk] = &[$(Quirk::$variant),*];

            pub(crate) fn kind(self) -> Kind {
                match self { $(Quirk::$variant => Kind::$kind),* }
            }

            /// Whether the broker survives crashes.
            pub(crate) fn durable(self) -> bool {
                match self { $(Quirk::$variant => stringify!($home) == "disk"),* }
            }

            pub(crate) fn what(self) -> &'static str {
                match self { $(Quirk::$variant => $what),* }
            }
        }
    };
}

quirks! {
    None Correct memory "Nothing.";
    NoneDurable Correct disk "Nothing, and it survives.";
    ReturnsCounted Correct memory "Returns are compared with the limit: one delivery more.";
    RejectUncounted Correct memory "A dead letter that was rejected does not count the attempt that rejected it.";
    ExpiryUncounted Correct memory "An expiry does not count; the attempt says how many were counted, plus one.";
    ExpiryUncountedOrdinal Correct memory "An expiry does not count; the attempt is the ordinal of the delivery all the same.";
    LossUncounted Correct memory "The loss of a session does not count.";
    NackUncounted Correct memory "A nack does not count.";
    ExpiryMaybe Correct memory "An expiry counts now and then.";
    LeasesOutliveSessions Correct memory "Leases run on when their session is lost.";
    StaleSilent Correct memory "A stale settlement is answered \"done\" and does nothing.";
    RequeueTail Correct memory "What is returned goes to the tail.";
    AnyOrder Correct memory "Any ready message is delivered.";
    NewestFirst Correct memory "Unordered, and the newest comes first.";
    PerProducer Correct memory "Each session has a lane of its own; lanes take turns.";
    EmptyRelaxed Correct memory "A receive finds nothing now and then.";
    FullRelaxed Correct memory "A send is refused now and then.";
    DeadDropped Correct memory "What dies is dropped.";
    RedriveKeepsCount Correct memory "Redrive goes on counting: one delivery, then dead again.";
    NoLimit Correct memory "There is no limit of deliveries.";
    Unbounded Correct memory "There is no capacity.";
    OneAtATime Correct memory "However many are asked for, at most one comes.";
    OddNames Correct memory "Ids fall, receipts are scattered.";
    SendInDoubt Correct memory "A send is in doubt now and then; half of those were stored.";
    SettleInDoubt Correct memory "A settlement is in doubt now and then; half of those were done.";
    ReceiveInDoubt Correct memory "A receive fails now and then; half of those leased what nobody sees.";
    Unavailable Correct memory "A send is refused as unavailable now and then.";
    TwoSessions Correct memory "At most two sessions at once.";
    RetriesDeduplicated Correct memory "The same bytes are stored once, and confirmed under the same id for ever.";
    DeathInStoreOrder Correct memory "Of the leases that ran out unnoticed, the message sent first dies first.";
    LazyDeath Correct memory "What is out of attempts dies with the next receive, and is counted as ready until then.";
    AllOrNothing Correct memory "A batch that does not fit is refused as a whole, though some of it would fit.";
    RedriveToPlace Correct memory "A redriven message takes the place it had.";
    LeasesOutliveCrash Correct disk "Leases are kept in a crash, with their deadline.";
    LeasesOutliveAll Correct disk "Leases end by time only.";
    CrashUncounted Correct disk "A crash does not count.";
    CrashMaybe Correct disk "A crash counts now and then.";
    AcksForgotten Correct disk "Acks do not survive, and it says so.";
    CountsForgotten Correct disk "Counts do not survive, and it says so.";
    DelaysForgotten Correct disk "Delays do not survive, and it says so.";
    CrashReorders Correct disk "After a crash the newest comes first: the order is promised without faults.";
    IdsJump Correct disk "After a crash ids go on a thousand higher.";
    NackForgotten Correct disk "Leases outlive a crash, and a crash takes back the latest nack: only acks and rejects are promised to survive.";
    LimitKept Correct memory "A body limit is declared and enforced.";
    RedriveToHead Correct memory "Redriven messages go before everything that is ready, the last death first.";
    ExtendInDoubt Correct memory "An extension is in doubt now and then; half of those were done.";
    RedriveInDoubt Correct memory "A redrive is in doubt now and then; half of those were done.";
    LooksFail Correct memory "Counting and showing fail now and then.";
    LazyWhole Correct memory "The dead move late, batches are refused as a whole, redriven messages take their place.";

    TailOutlives Correct memory "What is returned or redriven goes to the tail, and leases end by time only.";
    KeyLanes Correct memory "Unordered: each key has a lane of its own, served one after the other.";
    LazyTailDropped Correct memory "What is out of attempts is dropped with the next receive; what is returned goes to the tail.";
    NothingCounts Correct memory "No end of an attempt counts: only a reject kills.";
    WholeUnreliable Correct memory "Batches are refused as a whole, also now and then, and a receive finds nothing now and then.";
    RequeueMixed Correct memory "What expires goes to the tail, what is returned keeps its place.";
    DelayedSendToTail Correct memory "What was sent with a delay is queued when the delay ends.";
    DeadlineInclusive Correct memory "A lease still holds at its deadline.";
    ProcessOnly Correct disk "A power failure takes everything.";
    AcksOutliveProcess Correct disk "A power failure undoes the latest ack, and it says so.";
    SilentOutlives Correct disk "Leases end by time only, and a stale settlement is answered \"done\".";

    SweepSkipsNext Bug memory "When a lease ends with a death, the sweep passes over the next entry.";
    ExtendFirst Bug memory "Extending changes the first lease of the session instead of the one named.";
    ExtendAdds Bug memory "Extending adds to the deadline instead of now.";
    ExtendResetsCount Bug memory "Extending starts the count again.";
    ExtendTakesOver Bug memory "Whoever extends owns the lease: it no longer ends with its session.";
    ExtendMovesDelay Bug memory "Extending a delivery that was returned with a delay prolongs the delay.";
    BatchTwice Bug memory "The same receipt twice in a batch is answered \"done\" twice.";
    BatchMixed Bug memory "All settlements of a batch are settled as the first.";
    BatchStaleAborts Bug memory "After a stale item, the rest of a batch is refused as stale.";
    BatchStaleSilent Bug memory "After a stale item, the rest of a batch is answered \"done\" and not done.";
    BatchShifted Bug memory "Places in a batch of acks are looked up before the first is removed.";
    BatchRejectAcks Bug memory "Of a batch of rejects, only the first reaches the dead letters.";
    NackFromDeadline Bug memory "The delay of a nack runs from the deadline.";
    NackFromReceive Bug memory "The delay of a nack runs from the receive.";
    NackResets Bug memory "A nack with a delay starts the count again.";
    NackSparesLast Bug memory "A nack with a delay does not look at the limit.";
    NackKeepsReceipt Bug memory "A receipt stays good after a nack with a delay.";
    StaleNackCounts Bug memory "A stale nack counts.";
    StaleThenEmpty Bug memory "After a stale settlement the next receive finds nothing.";
    AckLate Bug memory "An ack after the deadline is done as long as nobody received the message again.";
    AckSwaps Bug memory "An ack moves the newest message into the hole.";
    AckByOtherRefused Bug memory "Only the session that received may settle.";
    DeadKeepsFour Bug memory "A fifth dead letter pushes out the oldest.";
    DeadBodyCut Bug memory "A dead letter lacks its last byte.";
    DiesOnce Bug memory "A message that dies again is taken for a duplicate.";
    RejectReversed Bug memory "A rejected message is shown first among the dead.";
    RedriveReversed Bug memory "Redriven messages are made ready in reverse order of death.";
    RedriveResetsFirst Bug memory "Of several redriven, only the first has its count reset.";
    RedriveDropsKey Bug memory "A redriven message lacks its key.";
    RedriveNewId Bug memory "A redriven message has a new id.";
    RedriveSaysMax Bug memory "Redrive says that it moved as many as were asked for.";
    BrowseIgnoresMax Bug memory "Dead letters are all shown, however few are asked for.";
    BrowseTakes Bug memory "Dead letters that are shown are gone if fewer were asked for than there are.";
    LossFirstOnly Bug memory "Of a lost session's leases only the first ends.";
    LossSpares Bug memory "The loss of a session does not look at the limit.";
    LossNumberReused Bug memory "Sessions are numbered by how many there are: two may have the same number.";
    LossEndsDelays Bug memory "A lost session ends the delays of what it returned.";
    LossToTail Bug memory "What a lost session held goes to the tail.";
    ExpiryToTail Bug memory "What expires goes to the tail.";
    NackDelayedToTail Bug memory "What is returned with a delay goes to the tail.";
    RejectKeepsSlot Bug memory "A rejected message keeps its slot.";
    DeathKeepsSlot Bug memory "A message that dies of its attempts keeps its slot.";
    AckFreesLate Bug memory "An acked message's slot is free only after the next receive.";
    RedriveTakesNoSlot Bug memory "A redriven message frees a slot it never took.";
    InFlightFree Bug memory "What is in flight does not count towards the capacity.";
    DeadCounted Bug memory "Dead letters count towards the capacity.";
    DelayedDropped Bug memory "A delay that ends while the queue is full drops the message.";
    ReceiptFromDeadline Bug memory "A receipt is made of id and deadline.";
    ReceiptFromAttempt Bug memory "A receipt is made of id and attempt, which redrive starts again.";
    MaxPlusOne Bug memory "A receive of two or more hands over one more.";
    EverySecond Bug memory "A receive passes over every second ready message.";
    LeaseCapped Bug memory "A lease is 20 ms at most, and the deadline says so.";
    LeaseCappedSilently Bug memory "A lease is 20 ms at most, and the deadline does not say so.";
    DeadlineWrong Bug memory "The deadline shown for a redelivery is a nanosecond early.";
    LeaseZero Bug memory "A receive with a lease of zero is not refused.";
    MaxZero Bug memory "A receive of at most zero is not refused.";
    LeaseOverflows Bug memory "A lease of hours wraps.";
    DelayTruncated Bug memory "Ends of delays are truncated to milliseconds.";
    LeaseTruncated Bug memory "Deadlines are truncated to milliseconds.";
    DepthUnswept Bug memory "Depth counts leases that have ended as in flight.";
    DepthSpares Bug memory "Depth ends leases without looking at the limit.";
    DepthKnowsNoDead Bug memory "Depth counts no dead letters after a redrive.";
    IdsOfBatchEqual Bug memory "A batch is confirmed under the id of its last message.";
    OutcomesShifted Bug memory "The outcomes of a batch that does not fit are in the wrong order.";
    KeyBlocks Bug memory "A message waits while another of its key is in flight.";
    KeyCompacts Bug memory "A message replaces a ready one of its key.";
    EmptyKeyLost Bug memory "An empty key is no key.";
    LargeBodyCut Bug memory "A body of more than 64 KiB is cut.";
    LimitIgnored Bug memory "A body limit is declared and not enforced.";
    IdByte Bug memory "Ids wrap after 256.";
    SixAtMost Bug memory "A seventh lease ends the oldest one.";
    Racy Bug memory "A receive looks and takes in two steps.";
    DepthBoundary Bug memory "Depth ends a lease a nanosecond early.";
    RedriveRejectedOnly Bug memory "Redrive takes rejected ones first.";
    RejectNeedsAttempts Bug memory "The first reject of a message with attempts left is a nack.";
    LoneDelivery Bug memory "Of three or more, the last is leased but not handed over once anything was redelivered.";
    DeadAttemptsOfLimit Bug memory "A rejected letter says as many attempts as are allowed.";
    ExtendNeedsNew Bug memory "Extending issues a receipt that nobody is told.";
    ExtendOnce Bug memory "A second extension is answered \"done\" and changes nothing.";
    AckOfKeyedAcksKey Bug memory "An ack of a keyed message acks what is ready of its key.";
    SendUnswept Bug memory "A send does not look whether leases have ended: what is dead by now takes a slot.";
    ExpiryBacksOff Bug memory "What expired waits another 5 ms.";
    LossWaits Bug memory "What a lost session held waits until its first deadline.";
    NackOfLostMessage Bug memory "A second delayed nack changes the key.";
    CrashRenumbers Bug disk "After a crash the next id is above those that are left.";
    CrashRestartsDelays Bug disk "After a crash delays start again.";
    CrashForgetsExtension Bug disk "Leases are kept in a crash, but not their extension.";
    CrashRefusesReceipts Bug disk "Leases are kept in a crash, but their receipts are refused.";
    CrashLosesDelayedKeys Bug disk "After a crash what was delayed lacks its key.";
    CrashDeadReversed Bug disk "After a crash the dead letters are in reverse order.";
    CrashDeadForgetsWhy Bug disk "After a crash every dead letter died of its attempts.";
    CrashSpares Bug disk "The crash does not look at the limit: one delivery more.";
    CrashForgetsReject Bug disk "A power failure undoes the latest reject.";
    CrashForgetsNack Bug disk "A crash ends the delays of nacks, not those of sends.";
    CrashForgetsRedrive Bug disk "A crash brings back the count that redrive reset.";
    ReceiptsRestart Bug memory "Nothing survives a crash, and receipts start again after it.";

    RedriveEndsLeases Bug memory "A redrive that moves something ends every lease.";
    RedriveRevivesReceipt Bug memory "After a redrive the receipt under which a message died is good again.";
    RedriveStartsAtOne Bug memory "Redrive sets the count to one.";
    RedriveRoomOnce Bug memory "A redrive of several looks once whether there is room.";
    DelayMeetsDeadline Bug memory "A delay that ends at the instant at which a lease ends takes a millisecond more.";
    DeadKeysShift Bug memory "A dead letter has the key of the one before it.";
    DelayedNackReady Bug memory "Depth counts what was returned with a delay as ready.";
    BatchKeys Bug memory "In a batch a message without a key takes that of the one before it.";
    BatchDelays Bug memory "All nacks of a batch take the longest of their delays.";
    BatchReceipts Bug memory "Of three or more deliveries the first two have each other's receipt.";
    ExtendExtendsAll Bug memory "Extending one lease extends all of the session.";
    ExtendLongIgnored Bug memory "An extension by more than an hour is answered \"done\" and changes nothing.";
    RejectsAtMostThree Bug memory "With three dead letters a reject is answered \"stale\".";
    FullDropsDelayed Bug memory "A send to a full queue takes the place of a delayed message.";
    BrowseEndsLease Bug memory "Showing dead letters ends the first lease.";
    SecondLifeForgotten Bug memory "A message that was redriven once is deleted when it dies again, if it was rejected.";
    CrashKeepsTwoDead Bug disk "A crash keeps two dead letters.";
    CrashUndoesAck Bug disk "A power failure undoes the latest ack.";
    CrashCopiesDead Bug disk "After a crash the last dead letter is ready, too.";
    CrashCountsTwice Bug disk "A crash counts twice what was leased more than once.";

    ExtendRevives Bug memory "An extension after the deadline is done as long as nobody looked.";
    NackLate Bug memory "A nack after the deadline is done as long as nobody looked.";
    RejectLate Bug memory "A reject after the deadline is done as long as nobody looked.";
    StaleAckTaken Bug memory "An ack under an earlier receipt acks the message for whoever holds it now.";
    StaleNackTaken Bug memory "A nack under an earlier receipt ends the lease of whoever holds the message now.";
    StaleExtends Bug memory "An extension under an earlier receipt is refused, and extends all the same.";
    BatchIgnoresDelays Bug memory "The delay of a nack is ignored unless it is settled alone.";
    BatchOneDelay Bug memory "Messages sent in a batch all have the delay of the first.";
    BatchOverfills Bug memory "A batch is stored as a whole if there is room for its first message.";
    SecondDeathAdds Bug memory "A second death counts the attempts before the redrive, too.";
    SecondLifeLonger Bug memory "After a redrive one delivery more is allowed.";
    RejectAtLimitRenamed Bug memory "A message rejected in its last attempt is said to be out of attempts.";
    DeathByExpiryDropped Bug memory "A message whose last attempt expires is dropped.";
    LeaseFromSend Bug memory "A lease runs from the send.";
    ExpirySwaps Bug memory "Two leases found ended at once come back in the other order.";
    DelayedFree Bug memory "What is delayed does not count towards the capacity.";
    DelayedSendReady Bug memory "Depth counts what was sent with a delay as ready.";
    AckCumulative Bug memory "An ack acks all that its session received before.";
    RedriveLeavesLast Bug memory "A redrive of several leaves the last of them.";
    CapacityOneReplaces Bug memory "With a capacity of one a send replaces what is ready.";
    LossSparesExtended Bug memory "A lost session's leases do not end if they were extended.";
    ReceiptFromSession Bug memory "A receipt is made of id and session.";
    CrashReceiptsRestart Bug disk "After a crash receipts start again.";
    CrashForgetsHeld Bug disk "After a crash the attempts that were in progress are not counted.";
    CrashLosesBatchTail Bug disk "A power failure takes the last message of the latest batch.";
    CrashHalvesRedrive Bug disk "A power failure takes the last message of the latest redrive of several.";
}
