// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { IERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { IERC3009 } from "./IERC3009.sol";
import { Ledger, LedgerLib, Stake } from "./Ledger.sol";
import { SubscriptionManager } from "./SubscriptionManager.sol";
import { Terms } from "./Terms.sol";

/// Money: which tokens are taken, how a quote is paid, and who may draw what. A payment touches one accounting
/// slot of its token; the split into the payee's part and the fee happens when the escrow has run out, so that
/// neither a payment nor a refund pays for it.
abstract contract PaymentProcessor is SubscriptionManager {
    using SafeERC20 for IERC20;

    /// @notice Sends payments back: to their subscribers, and stray transfers to whom they came from.
    bytes32 public constant REFUNDER_ROLE = keccak256("REFUNDER_ROLE");

    /// @notice Money stays in escrow for at least this long and at most twice as long.
    /// @dev Never change it in an upgrade: stored epochs count in it.
    uint256 public constant ESCROW_EPOCH = 7 days;

    /// @notice For how long after its quote's last second a payment may be refunded.
    /// @dev A quote is payable for MAX_VALIDITY at most, so a payment leaves escrow only after its window.
    uint256 public constant REFUND_WINDOW = ESCROW_EPOCH - MAX_VALIDITY;

    /// @notice How many tokens the table holds.
    /// @dev The top bit of the index is the stored revocation flag.
    uint256 public constant MAX_TOKENS = 127;

    /// @notice The highest fee, in basis points.
    uint256 public constant MAX_FEE_BPS = 2000;

    /// @notice What is split and not yet withdrawn of a token, in its smallest units.
    /// @param earned The payee's part.
    /// @param fees The fee recipient's part.
    struct Proceeds {
        uint128 earned;
        uint128 fees;
    }

    /// @notice An EIP-3009 authorization; its payer, payee, value and nonce follow from the quote.
    /// @param validAfter The token takes it after this time only, Unix seconds.
    /// @param validBefore The token takes it before this time only, Unix seconds.
    /// @param v Of the payer's signature.
    /// @param r Of the payer's signature.
    /// @param s Of the payer's signature.
    struct Authorization {
        uint256 validAfter;
        uint256 validBefore;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    /// @notice An EIP-2612 permit for this contract, signed by the caller.
    /// @param value The allowance it gives.
    /// @param deadline Last second in which the token takes it, Unix seconds.
    /// @param v Of the caller's signature.
    /// @param r Of the caller's signature.
    /// @param s Of the caller's signature.
    struct Permit {
        uint256 value;
        uint256 deadline;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    /// @custom:storage-location erc7201:octroi.payments
    struct PaymentStorage {
        mapping(address token => Ledger) ledgers;
        mapping(address token => Proceeds) proceeds;
        address[] tokens;
        address payee;
        uint16 feeBps;
        address feeRecipient;
        mapping(bytes32 id => bool) refundedTransfers;
        mapping(bytes32 key => Stake) stakes;
    }

    // keccak256(abi.encode(uint256(keccak256("octroi.payments")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant PAYMENT_STORAGE =
        0xc13f8a3e3244bbc618bb35cb5a61c09b3349ac5e49333802f71902c38a894800;

    /// @notice A quote was paid.
    /// @param subscriber Who paid and holds the grant.
    /// @param serviceId keccak256 of the service's name.
    /// @param token The token paid in.
    /// @param terms The quote's terms, which the slot holds now.
    /// @param amount What was due, in the token's smallest units.
    event Paid(
        address indexed subscriber,
        bytes32 indexed serviceId,
        address indexed token,
        uint256 terms,
        uint256 amount
    );
    /// @notice A payment was sent back and its grant cleared.
    /// @param subscriber Who got the money.
    /// @param serviceId keccak256 of the service's name.
    /// @param token The token paid in.
    /// @param seq The payment's sequence number; the slot's is one higher now.
    /// @param amount What was sent back, in the token's smallest units.
    event Refunded(
        address indexed subscriber,
        bytes32 indexed serviceId,
        address indexed token,
        uint16 seq,
        uint256 amount
    );
    /// @notice A transfer that paid nothing was sent back.
    /// @param id Of the transfer, as refundTransfer says.
    /// @param token The token.
    /// @param to Who got it.
    /// @param amount What was sent back, in the token's smallest units.
    event TransferRefunded(bytes32 indexed id, address indexed token, address indexed to, uint256 amount);
    /// @notice A token may be paid in from now on.
    /// @param token The token.
    /// @param index Its index, which quotes name.
    event TokenAdded(address indexed token, uint8 index);
    /// @notice A listed token is taken, or no longer.
    /// @param token The token.
    /// @param enabled Whether it is taken.
    event TokenEnabled(address indexed token, bool enabled);
    /// @notice What is earned goes elsewhere from now on.
    /// @param payee Where to.
    event PayeeChanged(address indexed payee);
    /// @notice What leaves escrow from now on is split anew.
    /// @param feeBps The fee in basis points.
    /// @param recipient Who gets the fees.
    event FeeChanged(uint16 feeBps, address indexed recipient);
    /// @notice Payments that have left escrow were split.
    /// @param token The token.
    /// @param earned The payee's part.
    /// @param fee The fee recipient's part.
    event Settled(address indexed token, uint256 earned, uint256 fee);
    /// @notice The payee was sent what it had earned.
    /// @param token The token.
    /// @param payee Who got it.
    /// @param amount What was sent.
    event Withdrawn(address indexed token, address indexed payee, uint256 amount);
    /// @notice The fee recipient was sent the fees.
    /// @param token The token.
    /// @param recipient Who got them.
    /// @param amount What was sent.
    event FeesWithdrawn(address indexed token, address indexed recipient, uint256 amount);
    /// @notice Somebody added to what is earned.
    /// @param token The token.
    /// @param from Who did.
    /// @param amount How much.
    event ToppedUp(address indexed token, address indexed from, uint256 amount);
    /// @notice What belonged to nobody was sent away by the admin.
    /// @param token The token.
    /// @param to Who got it.
    /// @param amount What was sent.
    event Rescued(address indexed token, address indexed to, uint256 amount);

    /// @notice The token is not in the table, or no longer taken.
    /// @param token The token.
    error UnknownToken(address token);
    /// @notice The quote, or the slot, names another token's index.
    /// @param expected The index of the token that was given.
    error WrongTokenIndex(uint8 expected);
    /// @notice The token is in the table already.
    /// @param token The token.
    error TokenListed(address token);
    /// @notice The table is full.
    error TooManyTokens();
    /// @notice The fee would exceed MAX_FEE_BPS.
    /// @param feeBps The fee in basis points.
    error FeeTooHigh(uint256 feeBps);
    /// @notice The token moved less than was due.
    /// @param received What arrived.
    /// @param due What was due.
    error ShortTransfer(uint256 received, uint256 due);
    /// @notice There is nothing to send.
    error NothingToWithdraw();
    /// @notice The contract does not hold this much for the purpose.
    /// @param missing What it lacks.
    error NotCovered(uint256 missing);
    /// @notice The transfer was sent back before.
    /// @param id Of the transfer.
    error AlreadyRefunded(bytes32 id);

    function __PaymentProcessor_init(address payee_, uint16 feeBps, address feeRecipient)
        internal
        onlyInitializing
    {
        _setPayee(payee_);
        _setFee(feeBps, feeRecipient);
    }

    /// @notice Pays a quote of the caller's with an allowance given before.
    /// @param serviceId keccak256 of the service's name.
    /// @param token The token to pay in.
    /// @param terms The quote's terms.
    /// @param r Of the quote signer's EIP-2098 signature.
    /// @param vs Of the quote signer's EIP-2098 signature.
    function pay(bytes32 serviceId, address token, uint256 terms, bytes32 r, bytes32 vs)
        external
        nonReentrant
        whenNotPaused
    {
        _payByAllowance(serviceId, token, terms, r, vs);
    }

    /// @notice Pays a quote of the caller's with an allowance given in the same transaction.
    /// @dev Only the subscriber may call: a permit names no quote, so whoever relayed one could spend it on
    /// another. A permit that fails is no failure if the allowance suffices: somebody may have submitted it.
    /// @param serviceId keccak256 of the service's name.
    /// @param token The token to pay in.
    /// @param terms The quote's terms.
    /// @param r Of the quote signer's EIP-2098 signature.
    /// @param vs Of the quote signer's EIP-2098 signature.
    /// @param permit The caller's EIP-2612 permit.
    function payWithPermit(
        bytes32 serviceId,
        address token,
        uint256 terms,
        bytes32 r,
        bytes32 vs,
        Permit calldata permit
    ) external nonReentrant whenNotPaused {
        // Before anything of the token's runs, it must be one of ours.
        _requireToken(token, Terms.wrap(terms));
        try IERC20Permit(token)
            .permit(
                msg.sender, address(this), permit.value, permit.deadline, permit.v, permit.r, permit.s
            ) { }
            catch { }
        _payByAllowance(serviceId, token, terms, r, vs);
    }

    /// @notice Pays a quote of `subscriber`'s by an EIP-3009 authorization, whoever submits it.
    /// @dev The authorization's nonce is the quote's digest and its value what is due: it pays nothing else.
    /// @param subscriber Who pays and gets the grant.
    /// @param serviceId keccak256 of the service's name.
    /// @param token The token to pay in.
    /// @param terms The quote's terms.
    /// @param r Of the quote signer's EIP-2098 signature.
    /// @param vs Of the quote signer's EIP-2098 signature.
    /// @param authorization The subscriber's authorization.
    function payWithAuthorization(
        address subscriber,
        bytes32 serviceId,
        address token,
        uint256 terms,
        bytes32 r,
        bytes32 vs,
        Authorization calldata authorization
    ) external nonReentrant whenNotPaused {
        (bytes32 digest, uint256 due) = _accept(subscriber, serviceId, token, terms, r, vs);
        uint256 before = IERC20(token).balanceOf(address(this));
        IERC3009(token)
            .receiveWithAuthorization(
                subscriber,
                address(this),
                due,
                authorization.validAfter,
                authorization.validBefore,
                digest,
                authorization.v,
                authorization.r,
                authorization.s
            );
        _requireReceived(token, before, due);
    }

    /// @notice Sends a payment back to its subscriber and clears the grant; also while paused or revoked.
    /// @dev Only the slot's current payment, inside its window. The amount is at least what the grant still
    /// holds, and at most what was paid for it. Of escrow it takes only what this grant's payments have there: what
    /// a renewal carried over may be past that, and where what is unsplit and earned falls short, nothing is refunded.
    /// @param subscriber Whose payment it is, and who gets the money.
    /// @param serviceId keccak256 of the service's name.
    /// @param token The token it was paid in.
    /// @param seq The payment's sequence number, which must be the slot's.
    /// @param amount What to send back, in the token's smallest units.
    function refund(address subscriber, bytes32 serviceId, address token, uint16 seq, uint256 amount)
        external
        nonReentrant
        onlyRole(REFUNDER_ROLE)
    {
        PaymentStorage storage $ = _payments();
        Ledger memory ledger = $.ledgers[token];
        if (ledger.index == 0) revert UnknownToken(token);
        bytes32 key = _key(subscriber, serviceId);
        Terms slot = _clear(key, seq, amount, REFUND_WINDOW);
        if (slot.token() != ledger.index) revert WrongTokenIndex(ledger.index);
        ledger.roll(_epoch());
        // The amount is at most what was paid, which has 64 bits.
        uint72 missing = ledger.draw(_stake(key, slot), uint64(amount));
        $.ledgers[token] = ledger;
        if (missing != 0) {
            Proceeds storage proceeds = $.proceeds[token];
            if (missing > proceeds.earned) revert NotCovered(missing - proceeds.earned);
            proceeds.earned -= missing;
        }
        emit Refunded(subscriber, serviceId, token, seq, amount);
        IERC20(token).safeTransfer(subscriber, amount);
    }

    /// @notice Sends back a transfer that paid nothing, once, out of what the ledger owes to nobody.
    /// @dev `id` is keccak256(abi.encode(uint256 chainId, bytes32 txHash, uint256 ordinal)): ordinal counts the
    /// Transfer logs of listed tokens to this contract in that transaction, from 0.
    /// @param id Of the transfer.
    /// @param token The token, which must be in the table.
    /// @param to Who gets it.
    /// @param amount What to send back, in the token's smallest units.
    function refundTransfer(bytes32 id, address token, address to, uint256 amount)
        external
        nonReentrant
        onlyRole(REFUNDER_ROLE)
    {
        PaymentStorage storage $ = _payments();
        if ($.refundedTransfers[id]) revert AlreadyRefunded(id);
        if ($.ledgers[token].index == 0) revert UnknownToken(token);
        _notZero(to);
        if (amount == 0) revert NothingToRefund();
        uint256 spare = _spare(token);
        if (amount > spare) revert NotCovered(amount - spare);
        $.refundedTransfers[id] = true;
        emit TransferRefunded(id, token, to, amount);
        IERC20(token).safeTransfer(to, amount);
    }

    /// @notice Sends the payee what it has earned and is out of escrow.
    /// @param token The token.
    function withdraw(address token) external nonReentrant onlyRole(TREASURER_ROLE) {
        _settle(token);
        PaymentStorage storage $ = _payments();
        uint256 amount = $.proceeds[token].earned;
        if (amount == 0) revert NothingToWithdraw();
        $.proceeds[token].earned = 0;
        emit Withdrawn(token, $.payee, amount);
        IERC20(token).safeTransfer($.payee, amount);
    }

    /// @notice Sends the fee recipient its part of what is out of escrow.
    /// @param token The token.
    function withdrawFees(address token) external nonReentrant onlyRole(TREASURER_ROLE) {
        _settle(token);
        PaymentStorage storage $ = _payments();
        uint256 amount = $.proceeds[token].fees;
        if (amount == 0) revert NothingToWithdraw();
        $.proceeds[token].fees = 0;
        emit FeesWithdrawn(token, $.feeRecipient, amount);
        IERC20(token).safeTransfer($.feeRecipient, amount);
    }

    /// @notice Adds to what is earned, where a refund is not covered; anybody may, and gets nothing for it.
    /// @dev An amount has 72 bits, so that nobody fills the 128 of what is earned, whatever the token.
    /// @param token A listed token, of which the caller has given an allowance.
    /// @param amount How much, in its smallest units.
    function topUp(address token, uint72 amount) external nonReentrant {
        PaymentStorage storage $ = _payments();
        if ($.ledgers[token].index == 0) revert UnknownToken(token);
        $.proceeds[token].earned += amount;
        emit ToppedUp(token, msg.sender, amount);
        _collect(token, amount);
    }

    /// @notice Sends on what came to this address by mistake: never what the ledger owes to anybody.
    /// @param token Any token.
    /// @param to Who gets it.
    function rescue(address token, address to) external nonReentrant onlyRole(DEFAULT_ADMIN_ROLE) {
        _notZero(to);
        uint256 spare = _spare(token);
        if (spare == 0) revert NothingToWithdraw();
        emit Rescued(token, to, spare);
        IERC20(token).safeTransfer(to, spare);
    }

    /// @notice Lists a token to be paid in.
    /// @param token An ERC-20 contract.
    /// @return index The index that quotes name it by.
    function addToken(address token) external onlyRole(DEFAULT_ADMIN_ROLE) returns (uint8 index) {
        return _addToken(token);
    }

    /// @notice Stops or resumes taking a token; it keeps its index and what is owed in it.
    /// @param token A listed token.
    /// @param enabled Whether it is taken.
    function setTokenEnabled(address token, bool enabled) external onlyRole(DEFAULT_ADMIN_ROLE) {
        Ledger storage ledger = _payments().ledgers[token];
        if (ledger.index == 0) revert UnknownToken(token);
        ledger.enabled = enabled;
        emit TokenEnabled(token, enabled);
    }

    /// @notice Names who is sent what is earned.
    /// @param payee_ The payee.
    function setPayee(address payee_) external onlyRole(DEFAULT_ADMIN_ROLE) {
        _setPayee(payee_);
    }

    /// @notice Sets the fee of what leaves escrow from now on; what has left it is split at the fee before.
    /// @param feeBps The fee in basis points, at most MAX_FEE_BPS.
    /// @param recipient Who gets the fees, earlier ones not yet withdrawn too.
    function setFee(uint16 feeBps, address recipient) external onlyRole(DEFAULT_ADMIN_ROLE) {
        address[] storage tokens = _payments().tokens;
        for (uint256 i = 0; i < tokens.length; i++) {
            _settle(tokens[i]);
        }
        _setFee(feeBps, recipient);
    }

    /// @notice Who is sent what is earned.
    /// @return The payee.
    function payee() external view returns (address) {
        return _payments().payee;
    }

    /// @notice The fee.
    /// @return feeBps In basis points.
    /// @return recipient Who gets it.
    function fee() external view returns (uint16 feeBps, address recipient) {
        return (_payments().feeBps, _payments().feeRecipient);
    }

    /// @notice How many tokens are listed.
    /// @return Their number, which is the last one's index.
    function tokenCount() external view returns (uint256) {
        return _payments().tokens.length;
    }

    /// @notice The token with an index.
    /// @param index From 1.
    /// @return The token, the zero address if there is none.
    function tokenAt(uint256 index) external view returns (address) {
        address[] storage tokens = _payments().tokens;
        return index == 0 || index > tokens.length ? address(0) : tokens[index - 1];
    }

    /// @notice What the table says of a token.
    /// @param token Any address.
    /// @return index Its index, 0 if it is not listed.
    /// @return enabled Whether it is taken.
    function tokenInfo(address token) external view returns (uint8 index, bool enabled) {
        Ledger storage ledger = _payments().ledgers[token];
        return (ledger.index, ledger.enabled);
    }

    /// @notice Whether a transfer was sent back by refundTransfer.
    /// @param id Of the transfer.
    /// @return Whether it was.
    function isTransferRefunded(bytes32 id) external view returns (bool) {
        return _payments().refundedTransfers[id];
    }

    /// @notice What would be there if the token were settled now, in its smallest units.
    /// @param token The token.
    /// @return escrow What may still be refunded.
    /// @return earned The payee's.
    /// @return fees The fee recipient's.
    function accounts(address token) external view returns (uint256 escrow, uint256 earned, uint256 fees) {
        Ledger memory ledger = _payments().ledgers[token];
        ledger.roll(_epoch());
        uint256 cut = LedgerLib.cut(ledger.settled, _payments().feeBps);
        Proceeds storage proceeds = _payments().proceeds[token];
        escrow = uint256(ledger.current) + ledger.previous;
        return (escrow, proceeds.earned + ledger.settled - cut, proceeds.fees + cut);
    }

    /// @notice All that is owed in a token: escrow, earned and fees.
    /// @param token The token.
    /// @return The sum, in its smallest units.
    function liabilities(address token) public view returns (uint256) {
        Ledger memory ledger = _payments().ledgers[token];
        Proceeds memory proceeds = _payments().proceeds[token];
        return ledger.total() + proceeds.earned + proceeds.fees;
    }

    function _addToken(address token) internal returns (uint8 index) {
        _notZero(token);
        PaymentStorage storage $ = _payments();
        if ($.ledgers[token].index != 0) revert TokenListed(token);
        if ($.tokens.length == MAX_TOKENS) revert TooManyTokens();
        if (token.code.length == 0) revert UnknownToken(token);
        $.tokens.push(token);
        index = uint8($.tokens.length);
        $.ledgers[token] = Ledger(index, true, _epoch(), 0, 0, 0);
        emit TokenAdded(token, index);
    }

    function _payByAllowance(bytes32 serviceId, address token, uint256 terms, bytes32 r, bytes32 vs) private {
        (, uint256 due) = _accept(msg.sender, serviceId, token, terms, r, vs);
        _collect(token, due);
    }

    /// Draws an amount from the caller.
    function _collect(address token, uint256 amount) private {
        uint256 before = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
        _requireReceived(token, before, amount);
    }

    /// Everything of a payment but the transfer itself, which comes last.
    function _accept(
        address subscriber,
        bytes32 serviceId,
        address token,
        uint256 terms,
        bytes32 r,
        bytes32 vs
    ) private returns (bytes32 digest, uint256 due) {
        digest = quoteDigest(subscriber, serviceId, token, terms);
        _requireSigner(digest, r, vs);
        Ledger memory ledger = _requireToken(token, Terms.wrap(terms));
        due = _buy(_key(subscriber, serviceId), Terms.wrap(terms));
        ledger.roll(_epoch());
        ledger.put(due);
        _payments().ledgers[token] = ledger;
        emit Paid(subscriber, serviceId, token, terms, due);
    }

    /// Puts `terms` in the slot. What of its payments is in escrow needs to be written only where the terms carry
    /// some over, since else what is due is their price.
    function _buy(bytes32 key, Terms terms) private returns (uint256 due) {
        Terms slot;
        (due, slot) = _grant(key, terms);
        if (due == terms.paid()) return due;
        Stake memory stake = _stake(key, slot);
        stake.seq = terms.seq();
        stake.current += uint72(due);
        _payments().stakes[key] = stake;
    }

    /// What a grant's own payments have in escrow now. One of which nothing is written was paid for at once, and at
    /// the earliest MAX_VALIDITY before its quote's end; it is counted to the epoch of then, which lasts its window.
    function _stake(bytes32 key, Terms slot) private view returns (Stake memory stake) {
        stake = _payments().stakes[key];
        if (stake.seq != slot.seq()) {
            uint256 from = slot.payableBefore() - MAX_VALIDITY;
            stake = Stake(slot.seq(), uint24(from / ESCROW_EPOCH), slot.paid(), 0);
        }
        stake.roll(_epoch());
    }

    /// A token that takes a fee of its own would leave the ledger owing more than there is.
    function _requireReceived(address token, uint256 before, uint256 due) private view {
        uint256 received = IERC20(token).balanceOf(address(this)) - before;
        if (received < due) revert ShortTransfer(received, due);
    }

    function _requireToken(address token, Terms terms) private view returns (Ledger memory ledger) {
        ledger = _payments().ledgers[token];
        if (!ledger.enabled) revert UnknownToken(token);
        if (ledger.index != terms.token()) revert WrongTokenIndex(ledger.index);
    }

    /// Splits what has left escrow into the payee's part and the fee.
    function _settle(address token) private {
        PaymentStorage storage $ = _payments();
        Ledger memory ledger = $.ledgers[token];
        if (ledger.index == 0) revert UnknownToken(token);
        ledger.roll(_epoch());
        uint72 amount = ledger.settled;
        ledger.settled = 0;
        $.ledgers[token] = ledger;
        if (amount == 0) return;
        uint256 cut = LedgerLib.cut(amount, $.feeBps);
        Proceeds storage proceeds = $.proceeds[token];
        proceeds.earned += uint128(amount - cut);
        proceeds.fees += uint128(cut);
        emit Settled(token, amount - cut, cut);
    }

    function _setPayee(address payee_) private {
        _notZero(payee_);
        _payments().payee = payee_;
        emit PayeeChanged(payee_);
    }

    function _setFee(uint16 feeBps, address recipient) private {
        _notZero(recipient);
        if (feeBps > MAX_FEE_BPS) revert FeeTooHigh(feeBps);
        _payments().feeBps = feeBps;
        _payments().feeRecipient = recipient;
        emit FeeChanged(feeBps, recipient);
    }

    function _epoch() private view returns (uint24) {
        return uint24(block.timestamp / ESCROW_EPOCH);
    }

    /// What lies here and is owed to nobody.
    function _spare(address token) private view returns (uint256) {
        uint256 balance = IERC20(token).balanceOf(address(this));
        uint256 owed = liabilities(token);
        return balance > owed ? balance - owed : 0;
    }

    function _payments() private pure returns (PaymentStorage storage $) {
        assembly {
            $.slot := PAYMENT_STORAGE
        }
    }
}
