// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {
    AccessControlDefaultAdminRulesUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/extensions/AccessControlDefaultAdminRulesUpgradeable.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { ECDSA } from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// What every module stands on: roles, pausing, the quote signer and the EIP-712 domain. The signer and the
/// pause flag share a slot because a payment reads both. State lies in ERC-7201 namespaces, one a module,
/// so that a later implementation may add to any of them. The admin is one account, and hands over in two steps.
abstract contract Core is AccessControlDefaultAdminRulesUpgradeable, ReentrancyGuardTransient {
    /// @notice Revokes subscriptions. The admin role is DEFAULT_ADMIN_ROLE.
    bytes32 public constant OPERATOR_ROLE = keccak256("OPERATOR_ROLE");
    /// @notice Sends proceeds to the payee and fees to the fee recipient; can send neither anywhere else.
    bytes32 public constant TREASURER_ROLE = keccak256("TREASURER_ROLE");
    /// @notice Stops payments; only an admin resumes them.
    bytes32 public constant PAUSER_ROLE = keccak256("PAUSER_ROLE");

    /// @notice The longest time for which a replaced signer's quotes stay payable.
    uint256 public constant MAX_SIGNER_OVERLAP = 7 days;

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant NAME_HASH = keccak256("Octroi");
    bytes32 private constant VERSION_HASH = keccak256("1");

    /// @custom:storage-location erc7201:octroi.core
    struct CoreStorage {
        address signer;
        bool paused;
        address previousSigner;
        uint64 previousUntil;
    }

    // keccak256(abi.encode(uint256(keccak256("octroi.core")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant CORE_STORAGE =
        0x70f0e58e7d290b6cdb66bb447a0214aff46d1b5abdac559d9ad75b0e6e894500;

    /// @notice Payments were stopped.
    /// @param account Who stopped them.
    event Paused(address indexed account);
    /// @notice Payments were resumed.
    /// @param account Who resumed them.
    event Unpaused(address indexed account);
    /// @notice Quotes are signed by another key from now on.
    /// @param signer The new signer.
    /// @param previous The signer before, zero at the first.
    /// @param previousUntil Last second in which the previous one's quotes are payable, 0 for none.
    event SignerChanged(address indexed signer, address indexed previous, uint64 previousUntil);

    /// @notice Payments are stopped.
    error IsPaused();
    /// @notice Payments are not stopped.
    error NotPaused();
    /// @notice The quote is signed by none of the signers.
    /// @param recovered Who signed it, zero if that is no signature.
    error BadSigner(address recovered);
    /// @notice The previous signer would stay good for longer than MAX_SIGNER_OVERLAP.
    /// @param until Until when, Unix seconds.
    error OverlapTooLong(uint256 until);
    /// @notice The address must not be zero.
    error ZeroAddress();

    modifier whenNotPaused() {
        if (_core().paused) revert IsPaused();
        _;
    }

    function __Core_init(address admin, uint48 adminDelay, address signer_) internal onlyInitializing {
        _notZero(admin);
        __AccessControlDefaultAdminRules_init(adminDelay, admin);
        _setSigner(signer_, 0);
    }

    /// @notice Stops payments; refunds and withdrawals go on.
    function pause() external onlyRole(PAUSER_ROLE) {
        if (_core().paused) revert IsPaused();
        _core().paused = true;
        emit Paused(msg.sender);
    }

    /// @notice Resumes payments.
    function unpause() external onlyRole(DEFAULT_ADMIN_ROLE) {
        if (!_core().paused) revert NotPaused();
        _core().paused = false;
        emit Unpaused(msg.sender);
    }

    /// @notice Replaces the quote signer; quotes of the one before stay payable for a while.
    /// @param signer_ The new signer.
    /// @param previousUntil Last second in which the previous one's quotes are payable, 0 for none.
    function setSigner(address signer_, uint64 previousUntil) external onlyRole(DEFAULT_ADMIN_ROLE) {
        if (previousUntil > block.timestamp + MAX_SIGNER_OVERLAP) revert OverlapTooLong(previousUntil);
        _setSigner(signer_, previousUntil);
    }

    /// @notice Whether payments are stopped.
    /// @return Whether they are.
    function paused() external view returns (bool) {
        return _core().paused;
    }

    /// @notice Who signs quotes.
    /// @return current The signer.
    /// @return previous The signer before.
    /// @return previousUntil Last second in which the previous one's quotes are payable.
    function signer() external view returns (address current, address previous, uint64 previousUntil) {
        CoreStorage storage $ = _core();
        return ($.signer, $.previousSigner, $.previousUntil);
    }

    /// @notice The EIP-712 domain separator, of this chain and address.
    /// @return The separator.
    function domainSeparator() public view returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPEHASH, NAME_HASH, VERSION_HASH, block.chainid, address(this)));
    }

    /// @notice The EIP-712 domain by ERC-5267.
    /// @return fields Which of the fields are used: 0x0f, the first four.
    /// @return name The domain's name.
    /// @return version The domain's version.
    /// @return chainId This chain.
    /// @return verifyingContract This address.
    /// @return salt Not used.
    /// @return extensions None.
    function eip712Domain()
        external
        view
        returns (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address verifyingContract,
            bytes32 salt,
            uint256[] memory extensions
        )
    {
        return (0x0f, "Octroi", "1", block.chainid, address(this), 0, new uint256[](0));
    }

    /// Digest of a struct hash in this contract's domain.
    function _typedDigest(bytes32 structHash) internal view returns (bytes32 digest) {
        return keccak256(abi.encodePacked(hex"1901", domainSeparator(), structHash));
    }

    function _requireSigner(bytes32 digest, bytes32 r, bytes32 vs) internal view {
        (address recovered, ECDSA.RecoverError failure,) = ECDSA.tryRecover(digest, r, vs);
        if (failure != ECDSA.RecoverError.NoError) revert BadSigner(address(0));
        CoreStorage storage $ = _core();
        if (recovered == $.signer) return;
        if (recovered == $.previousSigner && block.timestamp <= $.previousUntil) return;
        revert BadSigner(recovered);
    }

    function _notZero(address account) internal pure {
        if (account == address(0)) revert ZeroAddress();
    }

    function _setSigner(address signer_, uint64 previousUntil) private {
        _notZero(signer_);
        CoreStorage storage $ = _core();
        address previous = $.signer;
        $.previousSigner = previous;
        $.previousUntil = previousUntil;
        $.signer = signer_;
        emit SignerChanged(signer_, previous, previousUntil);
    }

    function _core() private pure returns (CoreStorage storage $) {
        assembly {
            $.slot := CORE_STORAGE
        }
    }
}
