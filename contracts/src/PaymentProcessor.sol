// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { IERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { IERC3009 } from "./IERC3009.sol";
import { SubscriptionManager } from "./SubscriptionManager.sol";
import { Terms } from "./Terms.sol";

/// Money: which tokens are taken, how a quote is paid, and who may draw what. A payment touches one accounting
/// slot of its token; the split into the payee's part and the fee happens when the escrow has run out, so that
/// neither a payment nor a refund pays for it.
abstract contract PaymentProcessor is SubscriptionManager {
    using SafeERC20 for IERC20;

    /// Money stays in escrow for at least this long and at most twice as long. Never change it in an upgrade:
    /// stored epochs count in it.
    uint256 public constant ESCROW_EPOCH = 1 days;

    /// The top bit of the index is the stored revocation flag.
    uint256 public constant MAX_TOKENS = 127;

    uint256 public constant MAX_FEE_BPS = 2000;

    struct Ledger {
        uint8 index;
        bool enabled;
        uint24 epoch;
        // Paid in this epoch, in the one before, and earlier; smallest units.
        uint72 current;
        uint72 previous;
        uint72 settled;
    }

    struct Proceeds {
        uint128 earned;
        uint128 fees;
    }

    struct Authorization {
        uint256 validAfter;
        uint256 validBefore;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

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
    }

    // keccak256(abi.encode(uint256(keccak256("octroi.payments")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant PAYMENT_STORAGE =
        0xc13f8a3e3244bbc618bb35cb5a61c09b3349ac5e49333802f71902c38a894800;

    event Paid(
        address indexed subscriber,
        bytes32 indexed serviceId,
        address indexed token,
        uint256 terms,
        uint256 amount
    );
    event TokenAdded(address indexed token, uint8 index);
    event TokenEnabled(address indexed token, bool enabled);
    event PayeeChanged(address indexed payee);
    event FeeChanged(uint16 feeBps, address indexed recipient);
    event Settled(address indexed token, uint256 earned, uint256 fee);
    event Withdrawn(address indexed token, address indexed payee, uint256 amount);
    event FeesWithdrawn(address indexed token, address indexed recipient, uint256 amount);
    event Rescued(address indexed token, address indexed to, uint256 amount);

    error UnknownToken(address token);
    error WrongTokenIndex(uint8 expected);
    error TokenListed(address token);
    error TooManyTokens();
    error FeeTooHigh(uint256 feeBps);
    error ShortTransfer(uint256 received, uint256 due);
    error NothingToWithdraw();

    function __PaymentProcessor_init(address payee_, uint16 feeBps, address feeRecipient)
        internal
        onlyInitializing
    {
        _setPayee(payee_);
        _setFee(feeBps, feeRecipient);
    }

    /// Pays a quote of the caller's with an allowance given before.
    function pay(bytes32 serviceId, address token, uint256 terms, bytes32 r, bytes32 vs)
        external
        nonReentrant
        whenNotPaused
    {
        _payByAllowance(serviceId, token, terms, r, vs);
    }

    /// The same with the allowance given in the same transaction. Only the subscriber may call: a permit names
    /// no quote, so whoever relayed one could spend it on another. A permit that fails is no failure if the
    /// allowance suffices: somebody may have submitted it already.
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

    /// Pays a quote of `subscriber`'s by an EIP-3009 authorization, whoever submits it. Its nonce is the
    /// quote's digest and its value what is due, so it can pay for nothing else.
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

    /// Sends the payee what it has earned and is out of escrow.
    function withdraw(address token) external nonReentrant onlyRole(TREASURER_ROLE) {
        _settle(token);
        PaymentStorage storage $ = _payments();
        uint256 amount = $.proceeds[token].earned;
        if (amount == 0) revert NothingToWithdraw();
        $.proceeds[token].earned = 0;
        emit Withdrawn(token, $.payee, amount);
        IERC20(token).safeTransfer($.payee, amount);
    }

    function withdrawFees(address token) external nonReentrant onlyRole(TREASURER_ROLE) {
        _settle(token);
        PaymentStorage storage $ = _payments();
        uint256 amount = $.proceeds[token].fees;
        if (amount == 0) revert NothingToWithdraw();
        $.proceeds[token].fees = 0;
        emit FeesWithdrawn(token, $.feeRecipient, amount);
        IERC20(token).safeTransfer($.feeRecipient, amount);
    }

    /// Sends on what came to this address by mistake: never what the ledger owes to anybody.
    function rescue(address token, address to) external nonReentrant onlyRole(DEFAULT_ADMIN_ROLE) {
        _notZero(to);
        uint256 balance = IERC20(token).balanceOf(address(this));
        uint256 owed = liabilities(token);
        if (balance <= owed) revert NothingToWithdraw();
        emit Rescued(token, to, balance - owed);
        IERC20(token).safeTransfer(to, balance - owed);
    }

    function addToken(address token) external onlyRole(DEFAULT_ADMIN_ROLE) returns (uint8 index) {
        return _addToken(token);
    }

    /// A token that is no longer taken keeps its index and what is owed in it.
    function setTokenEnabled(address token, bool enabled) external onlyRole(DEFAULT_ADMIN_ROLE) {
        Ledger storage ledger = _payments().ledgers[token];
        if (ledger.index == 0) revert UnknownToken(token);
        ledger.enabled = enabled;
        emit TokenEnabled(token, enabled);
    }

    function setPayee(address payee_) external onlyRole(DEFAULT_ADMIN_ROLE) {
        _setPayee(payee_);
    }

    /// What has left escrow is split at the fee of then; what is in escrow, at the fee of when it leaves.
    function setFee(uint16 feeBps, address recipient) external onlyRole(DEFAULT_ADMIN_ROLE) {
        address[] storage tokens = _payments().tokens;
        for (uint256 i = 0; i < tokens.length; i++) {
            _settle(tokens[i]);
        }
        _setFee(feeBps, recipient);
    }

    function payee() external view returns (address) {
        return _payments().payee;
    }

    function fee() external view returns (uint16 feeBps, address recipient) {
        return (_payments().feeBps, _payments().feeRecipient);
    }

    function tokenCount() external view returns (uint256) {
        return _payments().tokens.length;
    }

    /// The token with this index, from 1; the zero address if there is none.
    function tokenAt(uint256 index) external view returns (address) {
        address[] storage tokens = _payments().tokens;
        return index == 0 || index > tokens.length ? address(0) : tokens[index - 1];
    }

    /// Index 0: not in the table.
    function tokenInfo(address token) external view returns (uint8 index, bool enabled) {
        Ledger storage ledger = _payments().ledgers[token];
        return (ledger.index, ledger.enabled);
    }

    /// What would be there if the token were settled now.
    function accounts(address token) external view returns (uint256 escrow, uint256 earned, uint256 fees) {
        Ledger memory ledger = _payments().ledgers[token];
        _roll(ledger);
        uint256 cut = _cut(ledger.settled);
        Proceeds storage proceeds = _payments().proceeds[token];
        escrow = uint256(ledger.current) + ledger.previous;
        return (escrow, proceeds.earned + ledger.settled - cut, proceeds.fees + cut);
    }

    /// All that is owed in this token: escrow, earned and fees.
    function liabilities(address token) public view returns (uint256) {
        Ledger memory ledger = _payments().ledgers[token];
        Proceeds memory proceeds = _payments().proceeds[token];
        return uint256(ledger.current) + ledger.previous + ledger.settled + proceeds.earned + proceeds.fees;
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
        uint256 before = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(msg.sender, address(this), due);
        _requireReceived(token, before, due);
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
        due = _grant(subscriber, serviceId, Terms.wrap(terms));
        _roll(ledger);
        // due is at most 64 bits; the sum is checked.
        ledger.current += uint72(due);
        _payments().ledgers[token] = ledger;
        emit Paid(subscriber, serviceId, token, terms, due);
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
        _roll(ledger);
        uint256 amount = ledger.settled;
        ledger.settled = 0;
        $.ledgers[token] = ledger;
        if (amount == 0) return;
        uint256 cut = _cut(amount);
        Proceeds storage proceeds = $.proceeds[token];
        proceeds.earned += uint128(amount - cut);
        proceeds.fees += uint128(cut);
        emit Settled(token, amount - cut, cut);
    }

    /// The fee in an amount, rounded in the payee's favour.
    function _cut(uint256 amount) private view returns (uint256) {
        return amount * _payments().feeBps / 10_000;
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

    /// Moves a ledger to the present epoch.
    function _roll(Ledger memory ledger) private view {
        uint24 epoch = _epoch();
        if (epoch == ledger.epoch) return;
        ledger.settled += ledger.previous;
        ledger.previous = ledger.current;
        ledger.current = 0;
        if (epoch > uint256(ledger.epoch) + 1) {
            ledger.settled += ledger.previous;
            ledger.previous = 0;
        }
        ledger.epoch = epoch;
    }

    function _payments() private pure returns (PaymentStorage storage $) {
        assembly {
            $.slot := PAYMENT_STORAGE
        }
    }
}
