// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// A quote's terms, which become the storage slot of the grant as they are: one 256-bit word, so that a
/// payment costs one storage write. The layout is part of the interface; quoted and payd read it too.
type Terms is uint256;

using TermsLib for Terms global;

library TermsLib {
    /// Start of the count of valid-until minutes: 2026-01-01T00:00:00Z.
    uint256 internal constant MINUTES_FROM = 1_767_225_600;

    /// Top bit of a stored slot's token field; a quote never carries it, since token indices end at 127.
    uint256 private constant REVOKED = 1 << 231;

    /// @notice The new terms are worth less than what the slot still holds.
    /// @param held What it holds.
    error PaidBelowHeld(uint256 held);

    function start(Terms terms) internal pure returns (uint32) {
        return uint32(Terms.unwrap(terms));
    }

    function expiry(Terms terms) internal pure returns (uint32) {
        return uint32(Terms.unwrap(terms) >> 32);
    }

    function paid(Terms terms) internal pure returns (uint64) {
        return uint64(Terms.unwrap(terms) >> 64);
    }

    function plan(Terms terms) internal pure returns (uint16) {
        return uint16(Terms.unwrap(terms) >> 128);
    }

    function rate(Terms terms) internal pure returns (uint16) {
        return uint16(Terms.unwrap(terms) >> 144);
    }

    function bandwidth(Terms terms) internal pure returns (uint16) {
        return uint16(Terms.unwrap(terms) >> 160);
    }

    function quota(Terms terms) internal pure returns (uint32) {
        return uint32(Terms.unwrap(terms) >> 176);
    }

    function seq(Terms terms) internal pure returns (uint16) {
        return uint16(Terms.unwrap(terms) >> 208);
    }

    function token(Terms terms) internal pure returns (uint8) {
        return uint8(Terms.unwrap(terms) >> 224);
    }

    /// First second in which the quote is no longer payable.
    function payableBefore(Terms terms) internal pure returns (uint256) {
        unchecked {
            return MINUTES_FROM + ((Terms.unwrap(terms) >> 232) + 1) * 60;
        }
    }

    function revoked(Terms slot) internal pure returns (bool) {
        return Terms.unwrap(slot) & REVOKED != 0;
    }

    function withRevoked(Terms slot, bool flag) internal pure returns (Terms) {
        uint256 word = Terms.unwrap(slot) & ~REVOKED;
        return Terms.wrap(flag ? word | REVOKED : word);
    }

    /// Whether the slot holds a grant, running or over: no grant ends at 0.
    function granted(Terms slot) internal pure returns (bool) {
        return slot.expiry() != 0;
    }

    /// What a refund leaves: the revocation, and the next seq, so that no quote of before is payable again. The
    /// last seq stays; it ends the slot, as no quote can follow it.
    function cleared(Terms slot) internal pure returns (Terms) {
        unchecked {
            uint256 next = slot.seq() == type(uint16).max ? slot.seq() : uint256(slot.seq()) + 1;
            return Terms.wrap((Terms.unwrap(slot) & REVOKED) | next << 208);
        }
    }

    /// What `terms` cost on this slot: their price less what it still holds of the same token.
    function due(Terms slot, Terms terms) internal pure returns (uint256) {
        uint256 held = slot.token() == terms.token() ? slot.unused(terms.start()) : 0;
        return lessHeld(terms.paid(), held);
    }

    /// What the slot still holds at `time`, in its own token, rounded down: against the buyer.
    function unused(Terms slot, uint256 time) internal pure returns (uint256) {
        return remainder(slot.paid(), slot.start(), slot.expiry(), time);
    }

    /// A price less what is held; one below it is refused, as nothing is ever paid out for a payment.
    function lessHeld(uint64 price, uint256 held) internal pure returns (uint256) {
        if (price >= held) return price - held;
        revert PaidBelowHeld(held);
    }

    /// What is left at `time` of an amount that runs out evenly in [from, to), rounded down.
    function remainder(uint64 amount, uint32 from, uint32 to, uint256 time) internal pure returns (uint256) {
        if (time <= from) return amount;
        if (time >= to) return 0;
        // time is in (from, to), and the product of 64 and 32 bits fits.
        unchecked {
            return uint256(amount) * (uint256(to) - time) / (uint256(to) - from);
        }
    }
}
