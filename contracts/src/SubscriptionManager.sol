// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Core } from "./Core.sol";
import { Terms } from "./Terms.sol";

/// Grants: one packed slot for each subscriber and service. Owns the rule by which a signed quote may replace
/// a slot and what that costs, and the revocation of a slot. Knows no token and moves no money.
abstract contract SubscriptionManager is Core {
    bytes32 private constant QUOTE_TYPEHASH =
        keccak256("Quote(address subscriber,bytes32 serviceId,address token,uint256 terms)");

    /// @custom:storage-location erc7201:octroi.subscriptions
    struct SubscriptionStorage {
        mapping(bytes32 key => Terms) slots;
    }

    // keccak256(abi.encode(uint256(keccak256("octroi.subscriptions")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant SUBSCRIPTION_STORAGE =
        0xb79cba9645e5579ae2d456b7b5edca30eb1e2db6529f2622438c8d3c00711f00;

    event Revoked(address indexed subscriber, bytes32 indexed serviceId, uint16 seq, bool revoked);

    error QuoteExpired(uint256 payableBefore);
    error WrongSeq(uint256 expected);
    error BadPeriod();
    error PaidBelowHeld(uint256 held);
    error SlotRevoked();
    error RevocationUnchanged();

    /// Terms last paid for, 0 if none. Whether they are revoked stands apart, in isRevoked.
    function slotOf(address subscriber, bytes32 serviceId) external view returns (uint256) {
        return Terms.unwrap(_slot(subscriber, serviceId).withRevoked(false));
    }

    function isRevoked(address subscriber, bytes32 serviceId) external view returns (bool) {
        return _slot(subscriber, serviceId).revoked();
    }

    /// The quote's digest, which is also its id and the payment's.
    function quoteDigest(address subscriber, bytes32 serviceId, address token, uint256 terms)
        public
        view
        returns (bytes32)
    {
        return _typedDigest(keccak256(abi.encode(QUOTE_TYPEHASH, subscriber, serviceId, token, terms)));
    }

    /// Refuses payments on the slot and access by it, until lifted. Also holds for a slot never paid for.
    function setRevoked(address subscriber, bytes32 serviceId, bool revoked)
        external
        onlyRole(OPERATOR_ROLE)
    {
        bytes32 key = _key(subscriber, serviceId);
        Terms slot = _subscriptions().slots[key];
        if (slot.revoked() == revoked) revert RevocationUnchanged();
        _subscriptions().slots[key] = slot.withRevoked(revoked);
        emit Revoked(subscriber, serviceId, slot.seq(), revoked);
    }

    /// Puts `terms` in the slot and returns what that costs. The caller has checked signature and token.
    function _grant(address subscriber, bytes32 serviceId, Terms terms) internal returns (uint256 due) {
        bytes32 key = _key(subscriber, serviceId);
        Terms slot = _subscriptions().slots[key];
        if (slot.revoked()) revert SlotRevoked();
        if (block.timestamp >= terms.payableBefore()) revert QuoteExpired(terms.payableBefore());
        uint256 expected = uint256(slot.seq()) + 1;
        if (terms.seq() != expected) revert WrongSeq(expected);
        if (terms.start() >= terms.expiry() || terms.expiry() <= block.timestamp) revert BadPeriod();
        due = _due(slot, terms);
        _subscriptions().slots[key] = terms;
    }

    function _slot(address subscriber, bytes32 serviceId) internal view returns (Terms) {
        return _subscriptions().slots[_key(subscriber, serviceId)];
    }

    /// Price less what the slot still holds of the same token.
    function _due(Terms slot, Terms terms) internal pure returns (uint256) {
        uint256 held = slot.token() == terms.token() ? slot.unused(terms.start()) : 0;
        uint256 paid = terms.paid();
        if (paid < held) revert PaidBelowHeld(held);
        unchecked {
            return paid - held;
        }
    }

    function _key(address subscriber, bytes32 serviceId) private pure returns (bytes32) {
        return keccak256(abi.encode(subscriber, serviceId));
    }

    function _subscriptions() private pure returns (SubscriptionStorage storage $) {
        assembly {
            $.slot := SUBSCRIPTION_STORAGE
        }
    }
}
