// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Core } from "./Core.sol";
import { Terms } from "./Terms.sol";

/// Grants: one packed slot for each subscriber and service. Owns the rule by which a signed quote may replace
/// a slot and what that costs, and the revocation of a slot. Knows no token and moves no money.
abstract contract SubscriptionManager is Core {
    /// @notice How far ahead of its payment a quote may be payable.
    uint256 public constant MAX_VALIDITY = 1 days;

    bytes32 private constant QUOTE_TYPEHASH =
        keccak256("Quote(address subscriber,bytes32 serviceId,address token,uint256 terms)");

    /// @custom:storage-location erc7201:octroi.subscriptions
    struct SubscriptionStorage {
        mapping(bytes32 key => Terms) slots;
    }

    // keccak256(abi.encode(uint256(keccak256("octroi.subscriptions")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant SUBSCRIPTION_STORAGE =
        0xb79cba9645e5579ae2d456b7b5edca30eb1e2db6529f2622438c8d3c00711f00;

    /// @notice A slot was revoked, or that was lifted.
    /// @param subscriber Whose slot.
    /// @param serviceId keccak256 of the service's name.
    /// @param seq The slot's sequence number.
    /// @param revoked Whether it is revoked now.
    event Revoked(address indexed subscriber, bytes32 indexed serviceId, uint16 seq, bool revoked);

    /// @notice The quote is no longer payable.
    /// @param payableBefore First second in which it was not, Unix seconds.
    error QuoteExpired(uint256 payableBefore);
    /// @notice The quote is payable for longer than MAX_VALIDITY from now.
    /// @param payableBefore First second in which it will not be, Unix seconds.
    error ValidTooLong(uint256 payableBefore);
    /// @notice The sequence number is another than the slot asks for.
    /// @param expected The one it asks for.
    error WrongSeq(uint256 expected);
    /// @notice The period is empty or over.
    error BadPeriod();
    /// @notice The slot is revoked.
    error SlotRevoked();
    /// @notice The slot is, or is not, revoked already.
    error RevocationUnchanged();
    /// @notice The slot holds no grant, or the amount is nothing.
    error NothingToRefund();
    /// @notice The payment is too old.
    /// @param until First second in which it could not be refunded, Unix seconds.
    error RefundWindowOver(uint256 until);
    /// @notice The amount is not between what the grant holds and what was paid for it.
    /// @param min What the grant holds now.
    /// @param max What was paid.
    error BadRefund(uint256 min, uint256 max);

    /// @notice The terms last paid for; whether they are revoked stands apart, in isRevoked.
    /// @param subscriber Whose slot.
    /// @param serviceId keccak256 of the service's name.
    /// @return The terms, 0 if none; after a refund, all fields but seq are 0.
    function slotOf(address subscriber, bytes32 serviceId) external view returns (uint256) {
        return Terms.unwrap(_slot(subscriber, serviceId).withRevoked(false));
    }

    /// @notice Whether a slot is revoked.
    /// @param subscriber Whose slot.
    /// @param serviceId keccak256 of the service's name.
    /// @return Whether it is.
    function isRevoked(address subscriber, bytes32 serviceId) external view returns (bool) {
        return _slot(subscriber, serviceId).revoked();
    }

    /// @notice A quote's EIP-712 digest, which is also its id and the payment's.
    /// @param subscriber Whom the quote is for.
    /// @param serviceId keccak256 of the service's name.
    /// @param token The token to pay in.
    /// @param terms The quote's terms.
    /// @return The digest, in this contract's domain.
    function quoteDigest(address subscriber, bytes32 serviceId, address token, uint256 terms)
        public
        view
        returns (bytes32)
    {
        return _typedDigest(keccak256(abi.encode(QUOTE_TYPEHASH, subscriber, serviceId, token, terms)));
    }

    /// @notice Refuses payments on a slot and access by it, until lifted; also on a slot never paid for.
    /// @param subscriber Whose slot.
    /// @param serviceId keccak256 of the service's name.
    /// @param revoked Whether it shall be revoked.
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

    /// Puts `terms` in the slot and returns what that costs and what the slot held before. The caller has checked
    /// signature and token.
    function _grant(bytes32 key, Terms terms) internal returns (uint256 due, Terms slot) {
        slot = _subscriptions().slots[key];
        if (slot.revoked()) revert SlotRevoked();
        uint256 payableBefore = terms.payableBefore();
        if (block.timestamp >= payableBefore) revert QuoteExpired(payableBefore);
        if (payableBefore > block.timestamp + MAX_VALIDITY) revert ValidTooLong(payableBefore);
        uint256 expected = uint256(slot.seq()) + 1;
        if (terms.seq() != expected) revert WrongSeq(expected);
        if (terms.start() >= terms.expiry() || terms.expiry() <= block.timestamp) revert BadPeriod();
        due = slot.due(terms);
        _subscriptions().slots[key] = terms;
    }

    /// Takes the grant of payment `seq` out of its slot, if `amount` is a fair refund of it and its window is
    /// open, and returns the terms as they were, without the revocation.
    function _clear(bytes32 key, uint16 seq, uint256 amount, uint256 window) internal returns (Terms slot) {
        Terms stored = _subscriptions().slots[key];
        if (stored.seq() != seq) revert WrongSeq(stored.seq());
        if (!stored.granted()) revert NothingToRefund();
        uint256 until = stored.payableBefore() + window;
        if (block.timestamp >= until) revert RefundWindowOver(until);
        uint256 held = stored.unused(block.timestamp);
        uint256 paid = stored.paid();
        if (amount < held || amount > paid) revert BadRefund(held, paid);
        _subscriptions().slots[key] = stored.cleared();
        return stored.withRevoked(false);
    }

    function _slot(address subscriber, bytes32 serviceId) internal view returns (Terms) {
        return _subscriptions().slots[_key(subscriber, serviceId)];
    }

    function _key(address subscriber, bytes32 serviceId) internal pure returns (bytes32) {
        return keccak256(abi.encode(subscriber, serviceId));
    }

    function _subscriptions() private pure returns (SubscriptionStorage storage $) {
        assembly {
            $.slot := SUBSCRIPTION_STORAGE
        }
    }
}
